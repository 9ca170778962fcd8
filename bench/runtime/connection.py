"""One HTTP/1.1 connection of the load client: keep-alive, one request at a time, by callbacks, since the client shares
the processor with what it measures."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import cast

import httptools

CONTENT = re.compile(rb'"content":\s*"(?!")')
"""The first part of an answer in OpenAI's events: what comes before has a role, and content that is empty."""


class Reset(Exception):
    """The connection ended before the answer did."""


class Refused(Exception):
    """Nobody listens."""


@dataclass
class Answer:
    """Seconds of time.perf_counter."""

    first: float = 0.0
    ended: float = 0.0
    status: int = 0
    chunks: list[bytes] = field(default_factory=list)
    retry_after: str = ""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


class Connection(asyncio.Protocol):
    """Callbacks of asyncio and of httptools."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[None] | None = None
        self._answer = Answer()

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Answer:
        """Sends a request. Raises Reset."""
        if self._transport is None or self._transport.is_closing():
            raise Reset
        self._waiting = asyncio.get_running_loop().create_future()
        self._answer = Answer()
        self._transport.write(request)
        await self._waiting
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Reset())

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._answer.retry_after = value.decode()

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._answer.chunks.append(body)
        if not self._answer.first and CONTENT.search(body):
            self._answer.first = time.perf_counter()

    def on_message_complete(self) -> None:
        answer = self._answer
        answer.ended = time.perf_counter()
        answer.first = answer.first or answer.ended
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


async def connect(port: int) -> Connection:
    """To this machine. Raises Refused."""
    try:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    except OSError as error:
        raise Refused from error
    return connection
