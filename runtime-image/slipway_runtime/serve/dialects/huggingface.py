"""Hugging Face's inference format: {"inputs": …, "parameters": {…}} to `/`, as InferenceClient and the Hub's own API
have it.

Images and sound may be the body itself: with their own Content-Type, and, since InferenceClient sends none for bytes,
whatever has none and does not begin as JSON does. Parameters may stand at the root as well: InferenceClient sends
those of feature-extraction there. `options` is the old API's; of it only wait_for_model means something here. `error`
is always a string: an object loses its text in clients.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput, ModelLoading, RequestError
from slipway_runtime.serve.dialects import Dialect, Exchange, Reply, generation
from slipway_runtime.serve.dialects.bodies import json_object, media_type
from slipway_runtime.serve.dialects.generation import Wanted
from slipway_runtime.serve.dialects.images import as_accepted
from slipway_runtime.serve.inference.service import Answer, TaskRequest
from slipway_runtime.tasks.adapter import Media
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.transcript import plain

_SHAPE = '{"inputs": …, "parameters": {…}}'
# Accepted from old clients and without meaning on a dedicated endpoint.
_IDLE_OPTIONS = ("use_cache", "use_gpu", "compression")
_HUB_VERSION = re.compile(r"\bhf_hub/(\d+)\.(\d+)")


class HuggingFace(Dialect):
    """The dialect. `data`: whether {"data": …} may stand for inputs, as Alibaba's PAI sends it to `/`."""

    name = "huggingface"

    def __init__(self, *, data: bool = False) -> None:
        self._data = data

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:
        data: dict[str, Any] = {"inputs": body} if _is_media(body, headers) else json_object(body, headers, _SHAPE)
        inputs = self._inputs(data)
        options, stream = data.pop("options", None), _flag(data.pop("stream", None), "stream")
        parameters = _parameters(data)
        inputs = _question_beside_image(inputs, parameters)
        if isinstance(inputs, dict) and "table" in inputs:
            parameters.pop("model", None)  # InferenceClient puts the URL it was given there
        request = TaskRequest(
            inputs=inputs,
            parameters=parameters,
            tasks=(path["task"],) if "task" in path else (),
            model=generation.adapter_of(parameters) or path.get("model"),
            wait_for_model=headers.get("x-wait-for-model", "").lower() in ("1", "true") or _wait(options),
        )
        reply = functools.partial(_reply, request, headers)
        if not stream:
            return Exchange([request], reply)
        if isinstance(inputs, list) and generation.messages_of(inputs) is None:
            raise InvalidInput("stream", "streams one answer; send one text in inputs, or leave stream out")
        generation.refuse_in_stream(parameters)
        wanted = _wanted(request)
        return Exchange([request], reply, lambda parts: generation.events(parts, wanted))

    def _inputs(self, data: dict[str, Any]) -> Any:
        if self._data and "data" in data:
            if "inputs" in data:
                raise InvalidInput("data", "is given beside inputs; send one of them")
            return data.pop("data")
        if "inputs" not in data:
            raise InvalidInput("inputs", f"is missing; send {_SHAPE}")
        return data.pop("inputs")

    def render_error(self, error: RequestError) -> bytes:
        content: dict[str, Any] = {"error": error.message, "error_type": error.kind}
        if isinstance(error, ModelLoading):
            content["estimated_time"] = error.estimated_time
        return orjson.dumps(content)


def _is_media(body: bytes, headers: Mapping[str, str]) -> bool:
    media = media_type(headers)
    if media.startswith(("image/", "audio/")):
        return True
    return media in ("", "application/octet-stream") and bool(body.strip()) and body.lstrip()[:1] not in (b"{", b"[")


def _parameters(data: dict[str, Any]) -> dict[str, Any]:
    """Those under `parameters` and those beside it."""
    parameters = data.pop("parameters", None)
    if parameters is None:
        return data
    if not isinstance(parameters, dict):
        raise InvalidInput("parameters", "must be an object")
    both = sorted(parameters.keys() & data.keys())
    if both:
        raise InvalidInput(f"parameters.{both[0]}", f"is given twice: also as {both[0]} beside inputs")
    return {**parameters, **data}


def _question_beside_image(inputs: Any, parameters: dict[str, Any]) -> Any:
    """InferenceClient sends visual-question-answering's image as inputs, and both of it beside that again."""
    if not isinstance(inputs, str) or "question" not in parameters or "image" not in parameters:
        return inputs
    return {"image": parameters.pop("image"), "question": parameters.pop("question")}


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool | None):
        raise InvalidInput(name, "must be true or false")
    return bool(value)


def _wait(options: object) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidInput("options", "must be an object")
    for name in options:
        if name != "wait_for_model" and name not in _IDLE_OPTIONS:
            raise InvalidInput(
                f"options.{name[:80]}", f"unknown option; allowed are wait_for_model, {', '.join(_IDLE_OPTIONS)}"
            )
    return _flag(options.get("wait_for_model", False), "options.wait_for_model")


def _wanted(request: TaskRequest) -> Wanted:
    return Wanted.of(request.parameters, full_text=True, messages=generation.messages_of(request.inputs))


def _reply(request: TaskRequest, headers: Mapping[str, str], answers: Sequence[Answer]) -> Reply:
    answer = answers[0]
    value = answer.value
    if isinstance(value, Media):
        accepted = as_accepted(value, headers.get("accept", ""))
        return Reply(accepted.content, accepted.type)
    shape = _SHAPES.get(answer.task)
    if _is_generated(value):
        return Reply(orjson.dumps(_generated(request, value)), headers=generation.headers(answer, request.inputs))
    if shape is not None:
        value = shape(request, headers, value)
    return Reply(
        orjson.dumps(value, default=plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS)
    )


def _is_generated(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], list)
        and bool(value[0])
        and isinstance(value[0][0], Generated)
    )


def _generated(request: TaskRequest, value: list[list[Generated]]) -> list[Any]:
    """A list for one input, lists for a list of them, as transformers' pipeline; TGI's client reads the first."""
    wanted = _wanted(request)
    found = [generation.answers(one, wanted) for one in value]
    return found if isinstance(request.inputs, list) and generation.messages_of(request.inputs) is None else found[0]


def _zero_shot(request: TaskRequest, headers: Mapping[str, str], value: Any) -> Any:
    """huggingface_hub reads {labels, scores} up to 1.1, and [{label, score}] from 1.2 on."""
    version = _HUB_VERSION.search(headers.get("user-agent", ""))
    if version is None or (int(version[1]), int(version[2])) > (1, 1):
        return value

    def old(sequence: Any, scores: list[dict[str, Any]]) -> dict[str, Any]:
        return {"sequence": sequence, "labels": [s["label"] for s in scores], "scores": [s["score"] for s in scores]}

    if isinstance(request.inputs, list):
        return [old(sequence, scores) for sequence, scores in zip(request.inputs, value, strict=True)]
    return old(request.inputs, value)


_SHAPES: dict[str, Callable[[TaskRequest, Mapping[str, str], Any], Any]] = {"zero-shot-classification": _zero_shot}
