"""One connection: uvicorn's HTTP/1.1 on httptools, with limits on what a caller may hold.

    headers     SLIPWAY_HEADER_SECONDS to arrive whole, else 408, or, where nothing came at all, closed; bytes and
                number (431), length of the URL (414)
    answer      a caller who reads nothing for SLIPWAY_WRITE_SECONDS is cut off
    open ones   SLIPWAY_MAX_CONNECTIONS. One more takes the place of the one that has waited longest for its first
                headers; where there is none it is refused (429)
    pipelined   requests behind one another without waiting for answers: MAX_PIPELINED

The body's time is http.py's affair. An answer that begins before its request has arrived whole (401, 413, 415) says
`connection: close`; what still comes is then thrown away for a moment, since a socket that is closed on unread bytes
resets the connection, and the caller would not see the answer.

Timers are set where something does not arrive at once; a request that comes in one piece sets none.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from slipway_runtime.errors import (
    HeadersTooLarge,
    MalformedRequest,
    Overloaded,
    RequestError,
    TooSlow,
    UrlTooLong,
)
from slipway_runtime.serve.edge.refusals import refusal
from slipway_runtime.settings import Settings

MAX_URL_BYTES = 8192
MAX_HEADERS = 128
MAX_PIPELINED = 32
MAX_REFUSALS = 128  # connections beside the open ones that are told so; any further is closed without a word
LINGER_SECONDS = 2.0
LINGER_BYTES = 4 * 1024**2


@dataclass(frozen=True)
class ConnectionLimits:
    """See Settings."""

    connections: int
    header_bytes: int
    header_seconds: float
    write_seconds: float
    refused: Callable[[int], None] = lambda _: None
    """Told the status of what is refused here: neither the log's lines nor the requests' metrics see it."""

    @classmethod
    def of(cls, settings: Settings, refused: Callable[[int], None]) -> ConnectionLimits:
        """Those of one port."""
        most, size = settings.max_connections, settings.max_header_bytes
        return cls(most, size, settings.header_seconds, settings.write_seconds, refused)


def bounded(limits: ConnectionLimits) -> type[Connection]:
    """The protocol class of one server."""
    return type("BoundedConnection", (Connection,), {"limits": limits, "waiting": {}})


class _Refused(Exception):
    """Raised in the parser's callbacks, where it ends the parsing."""


class _Channel:
    """The transport as a request sees it: closing it is the connection's decision."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        self._connection.end()


class _BodyOnly:
    """What a parser calls that reads a body whose head has been read."""

    def __init__(self, connection: Connection) -> None:
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete


class Connection(HttpToolsProtocol):
    """See the module."""

    limits: ClassVar[ConnectionLimits]
    waiting: ClassVar[dict[Connection, None]]
    """Those whose first headers have not come, in order of their arrival."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._channel: Any = _Channel(self, transport)
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._active: RequestResponseCycle | None = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._data = b""
        self._discarded = -1
        self._refusal: RequestError | None = None
        self._keeps = self._leaving = False
        most = self.limits.connections
        if len(self.connections) > most and not self._make_room():
            if len(self.connections) > most + MAX_REFUSALS:
                transport.abort()
                return
            self._refuse(Overloaded(f"{most} connections are open, the most allowed; try again later", 1.0))
            return
        self.waiting[self] = None
        self._timer = self.loop.call_later(self.limits.header_seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset(self._timer, self._writing)
        self.waiting.pop(self, None)
        self._gone()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        # The transport closes now, and a write before connection_lost would raise. Who sends no more may be reading
        # still, but most have gone, and that is how one sees it.
        self._gone()

    def _gone(self) -> None:
        if self._active is not None and not self._active.response_complete:  # uvicorn thinks of the newest only
            self._active.disconnected = True
            self._active.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._discarded >= 0:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.transport.abort()
            return
        self._data = data
        super().data_received(data)
        if self._in_head and self._discarded < 0:  # not refused already, while it was read
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(self._too_large())
        if self._timer is None and (self._in_head or self._idle) and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.limits.header_seconds, self._late)

    # What httptools finds

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(
                MalformedRequest(f"more than {MAX_PIPELINED} requests wait on this connection; read the answers")
            )

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._stop(UrlTooLong(f"the URL is longer than {MAX_URL_BYTES} bytes"))

    def on_headers_complete(self) -> None:
        if self._head_bytes + len(self._data) > self.limits.header_bytes and self._size() > self.limits.header_bytes:
            self._stop(self._too_large())
        if len(self.headers) > MAX_HEADERS:
            self._stop(HeadersTooLarge(f"the request has {len(self.headers)} headers, at most {MAX_HEADERS} are read"))
        self._in_head = False
        self._unset(self._timer)
        self._timer = None
        self.waiting.pop(self, None)
        super().on_headers_complete()
        self._in_body = True
        self.cycle.transport = self._channel
        self._keeps, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_message_complete(self) -> None:
        self._in_body = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps and not self._leaving
        super().on_message_complete()

    def _stop(self, error: RequestError) -> None:
        self._refusal = error
        raise _Refused

    def _size(self) -> int:
        """Bytes of the headers that have come, as they were written."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> RequestError:
        return HeadersTooLarge(f"the request's headers have more than {self.limits.header_bytes} bytes")

    # What uvicorn calls

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self._discarded >= 0:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not of our formats' shape
        self._refuse(self._refusal or MalformedRequest("this is no HTTP request that is read here"))

    def _unsupported_upgrade_warning(self) -> None:
        """Called where the parser stops at an Upgrade, which is passed over, as HTTP allows.

        A body that follows (Java's client asks for HTTP/2 so with its first request) is read by a parser of its own.
        """
        self._keeps = self.cycle.keep_alive = False
        framing = [(n, v) for n, v in self.headers if n in (b"content-length", b"transfer-encoding")]
        stopped = sys.exception()
        if not framing or not isinstance(stopped, httptools.HttpParserUpgrade):
            return
        self._in_body = self.cycle.more_body = True
        self.cycle.message_event.clear()
        self.parser = httptools.HttpRequestParser(_BodyOnly(self))
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *(b"%b: %b\r\n" % one for one in framing), b"\r\n"]))
        if rest := self._data[stopped.args[0] :]:
            self.data_received(rest)

    def shutdown(self) -> None:
        self._leaving = True
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._unset(self._writing)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self.end()

    # How it ends

    def end(self) -> None:
        """Close: once what was written has been read, and without cutting off what still comes."""
        if self.transport.is_closing() or self._discarded >= 0:
            return
        self._unset(self._timer)
        if not (self._in_head or self._in_body):
            self.transport.close()
            self._timer = self.loop.call_later(self.limits.write_seconds, self.transport.abort)
            return
        self._discarded = 0
        self.pipeline.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _refuse(self, error: RequestError) -> None:
        """Answer without the application, and close. Where an earlier request is being answered, only close then."""
        active = self._active
        if active is not None and not active.response_complete:
            mine = active is self.cycle and self._in_body
            if not mine or active.response_started:
                active.keep_alive = False
                self.pipeline.clear()
                self.flow.pause_reading()
                return
            active.disconnected = True  # the application has nobody to answer any more
            active.message_event.set()
        path = getattr(self, "url", b"").decode("latin-1")
        status, headers, body = refusal(path, error)
        self.limits.refused(status)
        own = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        lines = "".join(f"{name}: {value}\r\n" for name, value in [*own, *headers])
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n"
        self._in_head = True  # whatever comes now is not read
        self.transport.write(head.encode("latin-1") + body)
        self.end()

    def _late(self) -> None:
        self._timer = None
        if not self._in_head:
            self.end()
            return
        seconds = self.limits.header_seconds
        self._refuse(TooSlow(f"the request's headers did not arrive within {seconds:g} s"))

    def _make_room(self) -> bool:
        longest = next(iter(self.waiting), None)
        if longest is None:
            return False
        del self.waiting[longest]
        longest.transport.abort()
        return True

    @property
    def _idle(self) -> bool:
        """Nothing is asked or answered, but uvicorn's timer of idle connections has been stopped by some byte."""
        answered = self._active is None or self._active.response_complete
        return answered and not self._in_body and self.timeout_keep_alive_task is None

    @staticmethod
    def _unset(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()
