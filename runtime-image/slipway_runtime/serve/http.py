"""ASGI pieces: read a bounded body, notice that a caller has gone, send. The one place where a dialect meets HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from slipway_runtime.errors import BodyTooLarge, ModelUnavailable, RequestError, UnsupportedEncoding
from slipway_runtime.serve.dialects import Dialect
from slipway_runtime.serve.errors import retry_after, status_of
from slipway_runtime.serve.logs import logger
from slipway_runtime.serve.service import Service


class CallerGone(Exception):
    """The connection closed before an answer."""


class TaskEndpoint:
    """One dialect's route, as an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["slipway.dialect"] = self._dialect.name
        try:
            self._service.enter()
            try:
                body = await self._answer(scope, receive)
            finally:
                self._service.leave()
        except CallerGone:
            scope["slipway.code"] = 499  # nginx's word for it; nobody is there to read an answer
            return
        except asyncio.CancelledError:  # the drain is over: told, rather than cut off
            await self._send_error(send, ModelUnavailable("the server is shutting down; send the request again", 1.0))
            raise
        except RequestError as error:
            await self._send_error(send, error)
            return
        except Exception as error:
            logger.error("a request failed", exc_info=error)
            await self._send_error(send, RequestError("internal error; the server's log has the place"))
            return
        await send_body(send, 200, body)

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        headers = headers_of(scope)
        body = await read_body(headers, receive, self._service.settings.max_body_bytes)
        request = self._dialect.parse(body, headers, scope.get("path_params", {}))
        answer = asyncio.ensure_future(self._service.answer(request))
        gone = asyncio.ensure_future(receive())  # after the body the next message is http.disconnect
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise CallerGone
            return self._dialect.render(answer.result())
        finally:
            scope["slipway.task"] = request.served_as
            for task in (answer, gone):
                if not task.done():
                    task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _send_error(self, send: Send, error: RequestError) -> None:
        after = retry_after(error)
        extra = [(b"retry-after", str(after).encode())] if after is not None else []
        if isinstance(error, BodyTooLarge):
            extra.append((b"connection", b"close"))  # the rest of the body is not read
        await send_body(send, status_of(error), self._dialect.render_error(error), extra)


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Lower-case names; the last of a repeated header wins."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int) -> bytes:
    """The whole body, refused by its announced length if possible, else as soon as it exceeds `limit` bytes."""
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedEncoding("compressed bodies are not read here; send the body without Content-Encoding")
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge(f"the body has {int(announced)} bytes, at most {limit} are allowed; send several requests")
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes; send several requests")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def send_body(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """A whole response of JSON."""
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *(headers or []),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
