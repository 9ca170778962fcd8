"""An HTTP proxy before the API server that counts writes, ends the operator at one of them, and can swallow watches.

The operator speaks plain HTTP to it (Operator(server=proxy.url)); it speaks to the API server with the certificate of
the user `proxied`, so that the audit log still tells who wrote.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.apiserver import Cluster

USER = "proxied"
WRITES = ("POST", "PUT", "PATCH", "DELETE")
HOP = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


class Proxy:
    """Runs on a thread of its own from `with` to its end.

    `on_write(number, when)` is called with the number of each write of an endpoint's object (from 1; Leases and Events
    apart), first with "before" it is forwarded, then with "after" it was committed; when it returns True the
    connection is cut there. `mutes(path)` says of a watch whether its events are swallowed.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.on_write: Callable[[int, str], bool] = lambda _, __: False
        self.mutes: Callable[[str], bool] = lambda _: False
        self.writes: list[str] = []
        self._server = cluster.url
        certificate, key = cluster.authority.user(USER, "system:masters")
        self._tls = ssl.create_default_context(cafile=str(cluster.authority.certificate))
        self._tls.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> int:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        # aiohttp closes TLS connections a moment after it says so.
        await asyncio.sleep(0.25)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        number = 0
        apart = any(part in ("leases", "events") for part in request.path.split("/"))
        if request.method in WRITES and not apart:
            self.writes.append(f"{request.method} {request.path}")
            number = len(self.writes)
        body = await request.read()
        if number and await self._cut(number, "before"):
            raise web.HTTPBadGateway
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        url = URL(self._server + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, data=body or None, headers=headers) as upstream:
            if "watch=true" in request.query_string:
                return await self._stream(request, upstream)
            payload = await upstream.read()
            if number and await self._cut(number, "after"):
                raise web.HTTPBadGateway
            kind = upstream.headers.get("Content-Type", "application/json")
            return web.Response(status=upstream.status, body=payload, headers={"Content-Type": kind})

    async def _stream(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            if not self.mutes(request.path):
                await response.write(chunk)
        return response

    async def _cut(self, number: int, when: str) -> bool:
        # Not on the loop: the callback may wait for a process to end.
        return await asyncio.to_thread(self.on_write, number, when)
