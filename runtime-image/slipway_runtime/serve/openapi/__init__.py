"""GET /openapi.json: made when it is asked for, kept for as long as the same model is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from slipway_runtime.serve.inference.service import Service
from slipway_runtime.tasks.adapter import Loaded


class OpenAPI:
    """The route. `files`: names of the test page's files; `version`: of the model."""

    def __init__(self, service: Service, files: Callable[[], Any], version: Callable[[], str]) -> None:
        self._service = service
        self._files = files
        self._version = version
        self._kept: tuple[Loaded | None, bytes] | None = None

    async def document(self, _: Request) -> Response:
        loaded = self._service.lifecycle.loaded
        if self._kept is None or self._kept[0] is not loaded:
            self._kept = (loaded, self._written(loaded))
        return Response(self._kept[1], media_type="application/json")

    def _written(self, loaded: Loaded | None) -> bytes:
        # Imported when asked for: schemas of every format are no work to do before the port opens.
        module = importlib.import_module("slipway_runtime.serve.openapi.document")
        adapters = loaded.adapters if loaded else {}
        served = module.Served(
            endpoint=self._service.settings.endpoint,
            names=self._service.names,
            task=loaded.task if loaded else "",
            parameters={name: adapter.parameters for name, adapter in adapters.items()},
            takes_media=any(adapter.takes_media for adapter in adapters.values()),
            streams=any(adapter.streams for adapter in adapters.values()),
            version=self._version(),
            files=sorted(self._files()),
        )
        return orjson.dumps(module.build(served))
