"""The admin port of a pod with several workers: each answer is made of theirs, see answers.py."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from slipway_runtime.serve import admin
from slipway_runtime.serve.workers import answers

ASK_SECONDS = 2.0  # the kubelet waits for 5


@dataclass(frozen=True)
class Reply:
    """What a worker has answered."""

    status: int
    body: bytes


class Pod:
    """The handlers. `ports`: the workers' admin ports, on loopback; `stopping`: whether they are to end."""

    def __init__(self, ports: Sequence[int], stopping: Callable[[], bool]) -> None:
        self._ports = ports
        self._stopping = stopping

    async def probe(self, request: Request) -> Response:
        replies = await self._ask(request.url.path)
        if self._stopping() and request.url.path == "/livez":
            replies = [one for one in replies if one]  # who has ended is not stuck
        status, text = answers.probe([(one.status, one.body.decode()) if one else None for one in replies])
        return PlainTextResponse(text, status)

    async def status(self, request: Request) -> Response:
        replies = await self._ask(request.url.path)
        told = [orjson.loads(one.body) if one else None for one in replies]
        return admin.as_json(answers.status(told, stopping=self._stopping()))

    async def metrics(self, request: Request) -> Response:
        """503 where one worker says nothing: a sum without its part would look like a counter that began anew."""
        replies = await self._ask(request.url.path)
        texts = [one.body.decode() for one in replies if one]
        if len(texts) < len(replies):
            return PlainTextResponse("a worker does not answer", 503)
        return admin.exposed(answers.Summed(texts), request)

    async def _ask(self, path: str) -> list[Reply | None]:
        return list(await asyncio.gather(*(asyncio.to_thread(_get, port, path) for port in self._ports)))


def _get(port: int, path: str) -> Reply | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Reply(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def build(ports: Sequence[int], stopping: Callable[[], bool]) -> Starlette:
    """The application of the pod's admin port."""
    pod = Pod(ports, stopping)
    probes = [Route(path, pod.probe) for path in ("/livez", "/readyz", "/startupz")]
    return Starlette(routes=[*probes, Route("/metrics", pod.metrics), Route("/status", pod.status)])
