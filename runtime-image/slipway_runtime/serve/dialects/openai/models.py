"""GET /v1/models: the names that `model` may be."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from slipway_runtime.serve.dialects.openai import Context, body
from slipway_runtime.serve.inference.service import Service


class Models:
    """Both routes."""

    def __init__(self, service: Service, context: Context) -> None:
        self._service = service
        self._created = int(context.clock())

    async def list(self, _: Request) -> Response:
        """The model under its first name, and its LoRA adapters; further names of the model itself are aliases."""
        names = (self._service.names[:1] or ("",)) + self._service.settings.variant_names
        return _json({"object": "list", "data": [self._model(name) for name in dict.fromkeys(names)]})

    async def one(self, request: Request) -> Response:
        """By any name. Slashes in it may be percent-encoded or not."""
        name = request.path_params["model"]
        if name not in self._service.names:
            known = " or ".join(self._service.names)
            message = f"model {name[:200]!r} is not served here; this is {known}"
            return Response(
                body(message, "invalid_request_error", "model", "model_not_found"), 404, media_type="application/json"
            )
        return _json(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        settings = self._service.settings
        loaded = self._service.lifecycle.loaded
        parent = {"parent": self._service.names[0]} if name in settings.variant_names else {}
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "slipway",
            "root": settings.model_name,
            **parent,
            "max_model_len": loaded.max_input_tokens if loaded else None,
        }


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
