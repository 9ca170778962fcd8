"""The test page: GET / in a browser, its files under /page/, and what it has to know of the model.

Plain files of this package, read once and kept. Nothing is fetched from elsewhere, and the policy says so: scripts and
styles from here alone, no inline code, pictures and sound that the page itself made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import msgspec
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from slipway_runtime.serve.inference.service import Service
from slipway_runtime.serve.page.card import Card, read_card

_FOLDER = Path(__file__).parent
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-cache",  # a new version of the server has a new page
    "vary": "accept",  # on / others get JSON
}


class Page:
    """The routes."""

    def __init__(self, service: Service, otherwise: Callable[[Request], Awaitable[Response]]) -> None:
        self._service = service
        self._otherwise = otherwise
        self._cards: dict[str, Card] = {}

    async def index(self, request: Request) -> Response:
        """The page for whoever asks for HTML, as browsers do; JSON for others."""
        if "text/html" in request.headers.get("accept", ""):
            return _file("index.html")
        return await self._otherwise(request)

    async def docs(self, _: Request) -> Response:
        """The OpenAPI document, to read."""
        return _file("docs.html")

    async def file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in names():
            raise HTTPException(404)
        return _file(name)

    async def model(self, _: Request) -> Response:
        """What is served, and the model card's samples."""
        settings, lifecycle = self._service.settings, self._service.lifecycle
        loaded, artifact, fault = lifecycle.loaded, lifecycle.artifact, lifecycle.fault
        content: dict[str, object] = {
            "endpoint": settings.endpoint or None,
            "model": artifact.id if artifact else settings.model_name,
            "revision": artifact.revision if artifact else None,
            "stage": lifecycle.stage,
            "fault": f"{fault.reason}: {fault.message}" if fault and not loaded else None,
            "task": None,
            "tasks": [],
        }
        if loaded is not None:
            content |= {
                "device": loaded.device,
                "task": loaded.task,
                "tasks": [
                    {"name": name, "parameters": [f.encode_name for f in msgspec.structs.fields(adapter.parameters)]}
                    for name, adapter in loaded.adapters.items()
                ],
            }
        if artifact is not None:
            key = str(artifact.folder)
            if key not in self._cards:
                self._cards[key] = await asyncio.to_thread(read_card, artifact.folder)
            content |= msgspec.structs.asdict(self._cards[key])
        return Response(orjson.dumps(content), media_type="application/json", headers={"cache-control": "no-store"})


@cache
def names() -> frozenset[str]:
    """Of the files under /page/."""
    return frozenset(path.name for path in _FOLDER.iterdir() if path.suffix in _TYPES)


@cache
def _content(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def shell(path: str, status: int, headers: Mapping[str, str]) -> Response | None:
    """The page on this path, without anything of the model: what a browser without a token gets to ask for one."""
    name = {"/": "index.html", "/docs": "docs.html"}.get(path)
    return _file(name, status, headers) if name else None


def _file(name: str, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    return Response(_content(name), status, {**HEADERS, **headers}, media_type=_TYPES[Path(name).suffix])
