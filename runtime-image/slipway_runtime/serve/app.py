"""The API on port 8080: every route in one list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway_runtime import __version__
from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.quantised import quantisation
from slipway_runtime.cpu import threads
from slipway_runtime.serve.dialects.azure import Azure
from slipway_runtime.serve.dialects.dispatch import Dispatch
from slipway_runtime.serve.dialects.huggingface import HuggingFace
from slipway_runtime.serve.dialects.open_inference_server import OpenInferenceServer
from slipway_runtime.serve.dialects.openai import Context, no_route
from slipway_runtime.serve.dialects.openai.audio import Audio
from slipway_runtime.serve.dialects.openai.chat import ChatCompletions
from slipway_runtime.serve.dialects.openai.completions import Completions
from slipway_runtime.serve.dialects.openai.embeddings import Embeddings
from slipway_runtime.serve.dialects.openai.models import Models
from slipway_runtime.serve.dialects.sagemaker import Ping, invocations
from slipway_runtime.serve.dialects.tgi import TextGenerationInference
from slipway_runtime.serve.edge.auth import Authentication
from slipway_runtime.serve.edge.http import TaskEndpoint
from slipway_runtime.serve.edge.middleware import Observe
from slipway_runtime.serve.edge.tokens import Tokens
from slipway_runtime.serve.inference.service import Service
from slipway_runtime.serve.observe.tracing import Tracing
from slipway_runtime.serve.openapi import OpenAPI
from slipway_runtime.serve.page import Page
from slipway_runtime.serve.page import names as page_files
from slipway_runtime.serve.tokenize import Tokenize
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Loaded


def build(service: Service, tokens: Tokens | None = None, tracing: Tracing | None = None) -> ASGIApp:
    """The whole application; `tokens`: of which every request must have one, probes apart."""
    azure = Azure(service.settings.max_inputs)
    huggingface = TaskEndpoint(service, HuggingFace())
    root = TaskEndpoint(service, Dispatch(HuggingFace(data=True), {"input_data": azure}))
    oip = OpenInferenceServer(service)
    infer = TaskEndpoint(service, oip.dialect())
    openai = Context(service.names[0] if service.names else "")
    models = Models(service, openai)
    chat = ChatCompletions(openai)
    sagemaker = invocations(HuggingFace(), {"messages": chat, "input_data": azure})
    info = Info(service)
    page = Page(service, info.root)
    app = Starlette(
        routes=[
            _route("/", root, "POST"),
            _route("/pipeline/{task}", huggingface, "POST"),
            _route("/pipeline/{task}/{model:path}", huggingface, "POST"),
            _route("/models/{model:path}/pipeline/{task}", huggingface, "POST"),
            _route("/models/{model:path}", huggingface, "POST"),
            _route("/", page.index, "GET"),
            _route("/docs", page.docs, "GET"),
            _route("/openapi.json", OpenAPI(service, page_files, oip.version).document, "GET"),
            _route("/page/model.json", page.model, "GET"),
            _route("/page/{file}", page.file, "GET"),
            _route("/health", info.health, "GET"),
            _route("/info", info.info, "GET"),
            _route("/generate", TaskEndpoint(service, TextGenerationInference(stream=False)), "POST"),
            _route("/generate_stream", TaskEndpoint(service, TextGenerationInference(stream=True)), "POST"),
            _route("/tokenize", Tokenize(service), "POST"),
            _route("/chat_tokenize", Tokenize(service, chat=True), "POST"),
            _route("/v1/chat/completions", TaskEndpoint(service, chat), "POST"),
            _route("/v1/completions", TaskEndpoint(service, Completions(openai)), "POST"),
            _route("/v1/embeddings", TaskEndpoint(service, Embeddings(openai)), "POST"),
            _route("/v1/audio/transcriptions", TaskEndpoint(service, Audio(openai, "transcribe")), "POST"),
            _route("/v1/audio/translations", TaskEndpoint(service, Audio(openai, "translate")), "POST"),
            _route("/v1/models", models.list, "GET"),
            _route("/v1/models/{model:path}", models.one, "GET"),
            _route("/v2", oip.server, "GET"),
            _route("/v2/health/live", oip.live, "GET"),
            _route("/v2/health/ready", oip.ready, "GET"),
            _route("/v2/models/{model:path}/versions/{version}/infer", infer, "POST"),
            _route("/v2/models/{model:path}/infer", infer, "POST"),
            _route("/v2/models/{model:path}/versions/{version}/ready", oip.model_ready, "GET"),
            _route("/v2/models/{model:path}/ready", oip.model_ready, "GET"),
            _route("/v2/models/{model:path}/versions/{version}", oip.model, "GET"),
            _route("/v2/models/{model:path}", oip.model, "GET"),
            _route("/score", TaskEndpoint(service, azure), "POST"),
            _route("/ping", Ping(service).ping, "GET"),
            _route("/invocations", TaskEndpoint(service, sagemaker), "POST"),
        ],
        exception_handlers={HTTPException: _http_error},
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body in many clients
    guarded = Authentication(app, tokens) if tokens is not None else app
    return Observe(guarded, service.metrics, service.lifecycle, tracing or Tracing(service.settings, service.metrics))


class Info:
    """What the server says of itself."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def root(self, _: Request) -> Response:
        settings, lifecycle = self._service.settings, self._service.lifecycle
        return _json(
            {
                "endpoint": settings.endpoint or None,
                "model": settings.model_name,
                "task": lifecycle.loaded.task if lifecycle.loaded else None,
                "stage": lifecycle.stage,
                "usage": 'POST {"inputs": …} to /',
            }
        )

    async def health(self, _: Request) -> Response:
        """200 when a request would be answered now, else 503 with the stage."""
        lifecycle = self._service.lifecycle
        if lifecycle.stage == "Ready":
            return _json({"status": "ok"})
        stage = lifecycle.stage.lower()
        return _json({"status": stage, "error": f"unhealthy: {stage}", "error_type": "healthcheck"}, 503)

    async def info(self, _: Request) -> Response:
        """Names as text-generation-inference and text-embeddings-inference have them in /info."""
        settings, lifecycle = self._service.settings, self._service.lifecycle
        loaded, artifact = lifecycle.loaded, lifecycle.artifact
        return _json(
            {
                "model_id": artifact.id if artifact else settings.model_name,
                "model_sha": artifact.revision if artifact else None,
                "model_pipeline_tag": loaded.task if loaded else None,
                "task": loaded.task if loaded else None,
                "tasks": list(loaded.adapters) if loaded else [],
                "endpoint": settings.endpoint or None,
                "device": loaded.device if loaded else None,
                "model_dtype": loaded.dtype if loaded else None,
                "quantization": _quantization(artifact) if artifact else None,
                # compiled, or "eager: " and why; null where it was not asked for
                "torch_compile": (loaded.compiled or None) if loaded else None,
                "parameters": loaded.parameters if loaded else None,
                "max_input_length": loaded.max_input_tokens if loaded else None,
                **(_generation(loaded, settings) if loaded else {}),
                "max_client_batch_size": settings.max_inputs,
                "max_concurrent_requests": settings.max_requests * settings.workers,
                "max_batch_tokens": settings.max_batch_tokens,
                "max_body_bytes": self._service.max_body_bytes,
                "validation_workers": max(2, threads(settings.threads, settings.workers)) * settings.workers,
                "router": "slipway",
                "version": __version__,
                "sha": None,
                "docker_label": None,
            }
        )


def _quantization(artifact: Artifact) -> object:
    """int8 where it was asked for, else the checkpoint's own method, None where there is none."""
    return artifact.quantization or (quantisation(artifact.config) or {}).get("quant_method")


def _generation(loaded: Loaded, settings: Settings) -> dict[str, object]:
    """What text-generation-inference says beside; nothing where no text is generated."""
    if not any(adapter.streams for adapter in loaded.adapters.values()):
        return {}
    from slipway_runtime.tasks.generation import parameters  # noqa: PLC0415 - imports torch, which the model has done

    return {
        "max_best_of": parameters.MAX_SEQUENCES,
        "max_stop_sequences": parameters.MAX_STOPS,
        "max_input_tokens": loaded.max_input_tokens,
        # Of prompt and answer together; the answer gets what the prompt leaves.
        "max_total_tokens": loaded.max_input_tokens + (settings.max_new_tokens if settings.max_input_tokens else 1),
        "max_new_tokens": settings.max_new_tokens,
        # continuous, static or sequential: how its answers share the model, found by a trial at load
        "batching": next((a.mode for a in loaded.adapters.values() if hasattr(a, "mode")), None),
        # whether of a prompt that begins as an earlier one of its caller only the rest is read, by the same trial
        "prefix_reuse": any(getattr(a, "reuses", False) for a in loaded.adapters.values()),
    }


def _route(path: str, endpoint: ASGIApp | Callable[[Request], Awaitable[Response]], method: str) -> Route:
    inner = Route(path, endpoint, methods=[method])
    app = inner.app

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        scope["slipway.route"] = path
        await app(scope, receive, send)

    inner.app = named
    return inner


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 in the same shape as every other error."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for it alone
    texts = {
        404: "no such route; POST to /, GET /health or /info",
        405: f"{request.method} is not served on this route",
    }
    headers = dict(error.headers or {})
    if f"{request.url.path}/".startswith("/v1/"):
        content = no_route(request.method, request.url.path, error.status_code)
        return Response(content, error.status_code, headers, media_type="application/json")
    return _json(
        {"error": texts.get(error.status_code, error.detail), "error_type": "not_found"}, error.status_code, headers
    )


def _json(content: dict[str, object], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
