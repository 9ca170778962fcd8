"""Many requests at once, and watches, as an administrator: aiohttp and orjson, since kubectl takes 0.1 s a call."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import orjson

from tests.support.apiserver import ADMIN, Cluster, Object

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
AT_ONCE = 16


class Request(NamedTuple):
    method: str
    path: str
    body: Object | None = None
    content_type: str = "application/json"


@asynccontextmanager
async def session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    certificate, key = cluster.authority.user(ADMIN, "system:masters")
    context = ssl.create_default_context(cafile=str(cluster.authority.certificate))
    context.load_cert_chain(certificate, key)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(cluster.url, connector=connector, timeout=timeout, read_bufsize=2**21) as opened:
        yield opened


async def answer(http: aiohttp.ClientSession, request: Request) -> Object:
    """Sends one request; raises with the server's words when it refuses."""
    data = None if request.body is None else orjson.dumps(request.body)
    headers = {"Content-Type": request.content_type} if data else {}
    async with http.request(request.method, request.path, data=data, headers=headers) as response:
        reply: Object = orjson.loads(await response.read())
        if response.status >= 400:
            raise RuntimeError(f"{request.method} {request.path}: {response.status} {reply.get('message')}")
        return reply


async def answers(
    http: aiohttp.ClientSession, requests: Iterable[Request], tell: Callable[[Object], None] = lambda _: None
) -> None:
    """Sends them, AT_ONCE at a time; `tell` gets each answer as it comes."""
    waiting = iter(requests)

    async def worker() -> None:
        for request in waiting:
            tell(await answer(http, request))

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def send(cluster: Cluster, requests: Iterable[Request]) -> list[Object]:
    """Sends them, AT_ONCE at a time; returns the answers in the order in which they came."""
    got: list[Object] = []

    async def run() -> None:
        async with session(cluster) as http:
            await answers(http, requests, got.append)

    asyncio.run(run())
    return got


def items(cluster: Cluster, path: str) -> list[Object]:
    """The objects of a collection."""
    [reply] = send(cluster, [Request("GET", path)])
    found: list[Object] = reply["items"]
    return found


async def changes(http: aiohttp.ClientSession, path: str) -> AsyncIterator[tuple[str, Object]]:
    """Events of a collection, as type and object, from now on. The first is ("", {}): the watch is open."""
    version = (await answer(http, Request("GET", f"{path}?limit=1")))["metadata"]["resourceVersion"]
    async with http.get(path, params={"watch": "true", "resourceVersion": version}) as response:
        yield "", {}
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                event = orjson.loads(line)
                yield event["type"], event["object"]
