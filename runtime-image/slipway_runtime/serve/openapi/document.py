"""The OpenAPI document of what is served now: routes, the parameters of the model's tasks, errors of each format.

A pure function of what the server knows. Until the model is loaded, tasks and their parameters are missing from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from slipway_runtime import __version__
from slipway_runtime.serve.dialects.azure import Azure
from slipway_runtime.serve.dialects.huggingface import HuggingFace
from slipway_runtime.serve.dialects.open_inference import InferRequest, OpenInference
from slipway_runtime.serve.dialects.openai import OpenAI
from slipway_runtime.serve.dialects.openai.audio import AudioRequest
from slipway_runtime.serve.dialects.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from slipway_runtime.serve.dialects.tgi import GenerateRequest, TextGenerationInference
from slipway_runtime.serve.openapi.answers import ANSWERS, ANY, BINARY, INPUTS, Schema, either, many, record
from slipway_runtime.serve.openapi.parts import ERRORS, failures, got, in_path, posted, ref, response
from slipway_runtime.serve.tokenize import TokenizeRequest
from slipway_runtime.tasks.adapter import Parameters
from slipway_runtime.tasks.table import TASKS

_STRING: Schema = {"type": "string"}
_NULLABLE: Schema = {"type": ["string", "null"]}
_BOOLEAN: Schema = {"type": "boolean"}
_INTEGER: Schema = {"type": "integer"}
_BINARY: Schema = {"type": "string", "format": "binary"}
_EVENTS: Schema = {"type": "string", "description": "server-sent events"}
_REQUESTS = (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    AudioRequest,
    GenerateRequest,
    TokenizeRequest,
    InferRequest,
)


@dataclass(frozen=True)
class Served:
    """What the document depends on."""

    endpoint: str
    names: tuple[str, ...]
    """Of the model, its own first."""
    task: str
    """Empty while nothing is loaded."""
    parameters: Mapping[str, type[Parameters]]
    """By task."""
    takes_media: bool
    streams: bool
    version: str
    files: Sequence[str]
    """Of the test page."""


def build(served: Served) -> dict[str, Any]:
    """The document."""
    schemas = {**ERRORS, **_requests(), **_of_tasks(served)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": served.endpoint or (served.names[0] if served.names else "slipway"),
            "version": __version__,
            "description": f"Serves {', '.join(served.parameters) or 'a model that is being loaded'}.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "paths": {
            **_huggingface(served), **_tgi(), **_openai(served), **_open_inference(served), **_others(served),
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def _requests() -> dict[str, Schema]:
    """The structs that the formats read their bodies into."""
    _, found = msgspec.json.schema_components(_REQUESTS, ref_template="#/components/schemas/{name}")
    for kind in _REQUESTS:
        found[kind.__name__]["additionalProperties"] = False
    return found


def _of_tasks(served: Served) -> dict[str, Schema]:
    """A request per task, with its parameters."""
    kinds = list(served.parameters.values())
    _, found = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for task, kind in served.parameters.items():
        found[_request_name(task)] = record(
            {"inputs": INPUTS.get(task, ANY)},
            {
                "parameters": ref(kind.__name__),
                "options": record({}, {"wait_for_model": _BOOLEAN}),
                **({"stream": _BOOLEAN} if served.streams else {}),
            },
        )
    return found


def _request_name(task: str) -> str:
    return "".join(part.capitalize() for part in task.split("-")) + "Request"


def _answer(tasks: Sequence[str], *, streams: bool) -> dict[str, Any]:
    """The 200 of routes in Hugging Face's format."""
    shapes = [ANSWERS.get(task, ANY) for task in tasks if task not in BINARY]
    found = response("the answer", either(*shapes) if shapes else None)
    content = found.setdefault("content", {})
    for task in tasks:
        content |= {media: {"schema": _BINARY} for media in BINARY.get(task, ())}
    if streams:
        content["text/event-stream"] = {"schema": _EVENTS}
    if not content:
        content["application/json"] = {"schema": ANY}
    return found


def _huggingface(served: Served) -> dict[str, Any]:
    tag, tasks = "Hugging Face", list(served.parameters)
    body: dict[str, Schema] = {
        "application/json": either(*(ref(_request_name(task)) for task in tasks)) if tasks else record({"inputs": ANY})
    }
    if served.takes_media:
        body |= {"image/*": _BINARY, "audio/*": _BINARY, "application/octet-stream": _BINARY}
    errors = failures(HuggingFace, "Error")
    names = [name for task in tasks for name in (task, *(TASKS[task].aliases if task in TASKS else ()))]
    model = in_path("model", served.names, "the model's name; a slash in it as %2F, or as it is")
    task = in_path("task", names, "one of the model's tasks, or an alias")

    def post(summary: str, *parameters: Mapping[str, Any]) -> dict[str, Any]:
        answer = _answer(tasks, streams=served.streams)
        return posted(summary, body, answer, errors, tag=tag, parameters=parameters)

    page = {**response("the test page, for browsers", ANY), "content": {
        "application/json": {"schema": record({"model": _STRING, "stage": _STRING})}, "text/html": {"schema": _STRING},
    }}  # fmt: skip
    azure = {"content": {"application/json": {"schema": ANY}}, "description": "the answer"}
    root = post("Ask the endpoint's task; also {data}, and Azure's {input_data}")
    root["post"]["responses"]["200"] = azure | _answer(tasks, streams=served.streams)
    return {
        "/": {**root, **got("What this is", {"200": page}, tag="Server")},
        "/pipeline/{task}": post("Ask a task by name", task),
        "/pipeline/{task}/{model}": post("Ask a task by name", task, model),
        "/models/{model}": post("Ask the endpoint's task", model),
        "/models/{model}/pipeline/{task}": post("Ask a task by name", model, task),
        "/invocations": posted(
            "Amazon SageMaker: Hugging Face's format, OpenAI's messages, or Azure's input_data",
            body, _answer(tasks, streams=True), errors, tag="SageMaker",
        ),
    }  # fmt: skip


def _tgi() -> dict[str, Any]:
    errors = failures(TextGenerationInference, "Error")
    answer = response("the text", record({"generated_text": ANY}, {"details": ANY}))
    events = {"description": "the text as it comes", "content": {"text/event-stream": {"schema": _EVENTS}}}
    body = {"application/json": ref("GenerateRequest")}
    piece = record({"id": _INTEGER, "text": _STRING, "start": _INTEGER, "stop": _INTEGER})
    return {
        "/generate": posted("Generate text", body, answer, errors, tag="text-generation-inference"),
        "/generate_stream": posted("Generate text as a stream", body, events, errors, tag="text-generation-inference"),
        "/tokenize": posted(
            "The tokens of a text", {"application/json": ref("TokenizeRequest")}, response("the tokens", many(piece)),
            errors, tag="text-generation-inference",
        ),
        "/chat_tokenize": posted(
            "The tokens of a chat", {"application/json": ref("ChatRequest")},
            response("the tokens", record({"tokenize_response": many(piece), "templated_text": _STRING})),
            errors, tag="text-generation-inference",
        ),
    }  # fmt: skip


def _openai(served: Served) -> dict[str, Any]:
    errors, tag = failures(OpenAI, "OpenAIError"), "OpenAI"

    def post(summary: str, kind: type, answer: Schema, *, streams: bool) -> dict[str, Any]:
        found = response("the answer", answer)
        if streams:
            found["content"]["text/event-stream"] = {"schema": _EVENTS}
        return posted(summary, {"application/json": ref(kind.__name__)}, found, errors, tag=tag)

    answers = record({"id": _STRING, "object": _STRING, "created": _INTEGER, "model": _STRING, "choices": many(ANY)})
    vectors = record({"object": _STRING, "data": many(ANY), "model": _STRING, "usage": ANY})
    form = {
        "multipart/form-data": {
            "type": "object",
            "properties": {"file": _BINARY, **dict.fromkeys(_form_fields(), _STRING)},
            "required": ["file"],
        }
    }
    spoken = response("the transcript", record({"text": _STRING}), text_plain=_STRING)
    spoken["content"] |= {"text/vtt": {"schema": _STRING}, "application/x-subrip": {"schema": _STRING}}
    model = record({"id": _STRING, "object": _STRING, "created": _INTEGER, "owned_by": _STRING})
    listed = {"200": response("the models", record({"object": _STRING, "data": many(model)}))}
    one = {"200": response("the model", model), "404": response("no such model here", ref("OpenAIError"))}
    name = in_path("model", served.names)
    return {
        "/v1/chat/completions": post("Answer a chat", ChatRequest, answers, streams=True),
        "/v1/completions": post("Complete a text", CompletionRequest, answers, streams=True),
        "/v1/embeddings": post("Vectors of texts", EmbeddingRequest, vectors, streams=False),
        "/v1/audio/transcriptions": posted("Write what is said", form, spoken, errors, tag=tag),
        "/v1/audio/translations": posted("Write what is said, in English", form, spoken, errors, tag=tag),
        "/v1/models": got("The model's names", listed, tag=tag),
        "/v1/models/{model}": got("The model by name", one, tag=tag, parameters=[name]),
    }


def _form_fields() -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(AudioRequest)]


def _open_inference(served: Served) -> dict[str, Any]:
    tag, shape = "Open Inference Protocol v2", "OpenInferenceError"
    model = in_path("model", served.names)
    version = in_path("version", [served.version])
    tensor = record({"name": _STRING, "shape": many(_INTEGER), "datatype": _STRING}, {"data": many(ANY)})
    answer = response(
        "tensors",
        record({"model_name": _STRING, "outputs": many(tensor)}, {"model_version": _STRING, "id": _STRING}),
    )
    metadata = record(
        {
            "name": _STRING,
            "versions": many(_STRING),
            "platform": _STRING,
            "inputs": many(tensor),
            "outputs": many(tensor),
        }
    )
    unknown = {"404": response("no such model or version here", ref(shape))}
    ready = {"name": _STRING, "ready": _BOOLEAN}
    of_model = {
        "200": response("the model", metadata), **unknown, "503": response("the model is still loading", ref(shape)),
    }  # fmt: skip
    is_ready = {"200": response("ready", record(ready)), **unknown, "503": response("not ready", record(ready))}
    body, errors = {"application/json": ref("InferRequest")}, failures(OpenInference, shape)
    live = record({"live": _BOOLEAN}, {"ready": _BOOLEAN})
    server = record({"name": _STRING, "version": _STRING, "extensions": many(_STRING)})
    paths = {
        "/v2": got("The server", {"200": response("the server", server)}, tag=tag),
        "/v2/health/live": got("Whether the server lives", {"200": response("it does", live)}, tag=tag),
        "/v2/health/ready": got(
            "Whether the server is ready", {"200": response("it is", live), "503": response("not yet", live)}, tag=tag
        ),
    }
    for suffix, parameters in (("", [model]), ("/versions/{version}", [model, version])):
        path = f"/v2/models/{{model}}{suffix}"
        paths[path] = got("The model's tensors", of_model, tag=tag, parameters=parameters)
        paths[f"{path}/ready"] = got("Whether the model is ready", is_ready, tag=tag, parameters=parameters)
        summary = "Ask the endpoint's task in tensors"
        paths[f"{path}/infer"] = posted(summary, body, answer, errors, tag=tag, parameters=parameters)
    return paths


def _others(served: Served) -> dict[str, Any]:
    table = record({"columns": many(_STRING, minItems=1), "data": many(ANY, minItems=1)}, {"index": many(ANY)})
    body = {
        "application/json": record(
            {"input_data": either(table, many(ANY, minItems=1), {"type": "object"})}, {"params": {"type": "object"}}
        )
    }
    answer = response("one entry per row, or {output} for a chat", either(many(ANY), record({"output": ANY})))
    stage = record({"status": _STRING}, {"error": _STRING, "error_type": _STRING})
    file = in_path("file", served.files)
    content = {media: {"schema": _STRING} for media in ("text/html", "text/css", "text/javascript", "image/svg+xml")}
    return {
        "/score": posted("Azure ML's scoring", body, answer, failures(Azure, "AzureError"), tag="Azure ML"),
        "/ping": got(
            "Whether a request would be answered now", {"200": response("it would"), "503": response("not now")},
            tag="SageMaker",
        ),
        "/health": got(
            "Whether a request would be answered now",
            {"200": response("it would", stage), "503": response("not now", stage)}, tag="Server",
        ),
        "/info": got(
            "The model, its tasks and limits", {"200": response("the model", {"type": "object"})}, tag="Server"
        ),
        "/openapi.json": got("This document", {"200": response("this document", {"type": "object"})}, tag="Server"),
        "/docs": got(
            "This document, to read",
            {"200": {"description": "a page", "content": {"text/html": {"schema": _STRING}}}}, tag="Server",
        ),
        "/page/model.json": got(
            "What the test page shows", {"200": response("the model", {"type": "object"})}, tag="Server"
        ),
        "/page/{file}": got(
            "The test page's files",
            {"200": {"description": "a file", "content": content}, "404": response("no such file", ref("Error"))},
            tag="Server", parameters=[file],
        ),
    }  # fmt: skip
