"""Load on a server: a lean HTTP/1.1 client over asyncio streams, so that it is the server that takes the processor.

A closed loop has callers that each wait for their answer before they ask again: as fast as the server answers, never
faster. An open loop has arrivals at a rate of their own, as a crowd does, whatever the server makes of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

BROKEN = 0
"""The status of a request whose connection ended, or could not be made, before a whole answer."""
LOOPBACK = "127.0.0.1"
FRESH_SECONDS = 20.0
"""A connection that was idle for longer is not used again: the server may be about to close it."""


def post(body: object, path: str = "/", **headers: str) -> bytes:
    """A whole request, to be sent as it is. `body`: bytes, or what becomes JSON; underscores in headers are hyphens."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: load", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + content


def get(path: str, **headers: str) -> bytes:
    """A request without a body."""
    lines = [f"GET {path} HTTP/1.1", "host: load", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "\r\n"]).encode()


@dataclass
class Reply:
    """One answer, whole or broken off."""

    status: int = BROKEN
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    began: float = 0.0
    """When the request was sent, by the monotonic clock."""
    arrivals: list[float] = field(default_factory=list)
    """Seconds from then to each piece of the body."""
    seconds: float = 0.0
    """From then to the end."""
    number: int = -1
    """Which request of a loop it was."""

    def json(self) -> Any:
        return json.loads(self.body, parse_constant=_no_json)

    def events(self) -> list[bytes]:
        """The data of server-sent events, comments left out."""
        found = []
        for block in self.body.replace(b"\r\n", b"\n").split(b"\n\n"):
            lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                found.append(b"\n".join(lines))
        return found


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


class Connection:
    """One kept connection. Every method raises OSError or EOFError where it ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.usable = True
        """Whether a further request may be sent on it."""

    @classmethod
    async def open(cls, port: int, *, source: str = LOOPBACK) -> Connection:
        """`source`: the address that it comes from; any of 127/8 is this machine."""
        return cls(*await asyncio.open_connection(LOOPBACK, port, local_addr=(source, 0), limit=2**20))

    async def send(self, raw: bytes) -> None:
        self._writer.write(raw)
        await self._writer.drain()

    async def head(self) -> Reply:
        """Status and headers of the next answer."""
        began = time.monotonic()
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return Reply(int(first.split()[1]), {n.strip().lower(): v.strip() for n, _, v in pairs}, began=began)

    async def pieces(self, reply: Reply) -> AsyncIterator[bytes]:
        """The body as it comes: chunks as the server wrote them, else one piece."""
        if reply.headers.get("transfer-encoding", "") == "chunked":
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readuntil(b"\r\n")
        elif "content-length" in reply.headers:
            yield await self._reader.readexactly(int(reply.headers["content-length"]))
        else:
            self.usable = False
            yield await self._reader.read()
        self.usable = self.usable and reply.headers.get("connection", "") != "close"

    async def ask(self, raw: bytes) -> Reply:
        """Send a request, and read its whole answer."""
        began = time.monotonic()
        try:
            await self.send(raw)
            reply = await self.head()
            reply.began = began
            parts = []
            async for piece in self.pieces(reply):
                parts.append(piece)
                reply.arrivals.append(time.monotonic() - began)
        except BaseException:
            self.abort()  # the rest of an answer would be taken for the next one
            raise
        reply.body, reply.seconds = b"".join(parts), time.monotonic() - began
        return reply

    def half_close(self) -> None:
        """Say that nothing more will be sent; answers may still come."""
        self._writer.write_eof()

    async def close(self) -> None:
        """An ordinary end."""
        self.usable = False
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """A reset, as a process that is killed leaves it."""
        self.usable = False
        sock: socket.socket = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the other side may have ended it already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Pool:
    """Kept connections from one address to one port; a request takes an idle one, or opens one more."""

    def __init__(self, port: int, *, source: str = LOOPBACK, patience: float = 120.0) -> None:
        self._port = port
        self._source = source
        self._patience = patience
        self._idle: list[tuple[Connection, float]] = []

    async def ask(self, raw: bytes, number: int = -1) -> Reply:
        """The answer; a reply of status BROKEN where there is none, or none within the patience in seconds."""
        began, connection = time.monotonic(), None
        try:
            async with asyncio.timeout(self._patience):
                connection = await self._connection()
                reply = await connection.ask(raw)
        except (OSError, EOFError, TimeoutError):
            reply = Reply(began=began, seconds=time.monotonic() - began)
        finally:
            if connection is not None and connection.usable:
                self._idle.append((connection, time.monotonic()))
            elif connection is not None:
                await connection.close()
        reply.number = number
        return reply

    async def _connection(self) -> Connection:
        while self._idle:
            connection, since = self._idle.pop()
            if time.monotonic() - since < FRESH_SECONDS:
                return connection
            await connection.close()
        return await Connection.open(self._port, source=self._source)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop()[0].close()


@asynccontextmanager
async def pool(port: int, *, source: str = LOOPBACK, patience: float = 120.0) -> AsyncIterator[Pool]:
    """A pool that is closed at the end."""
    made = Pool(port, source=source, patience=patience)
    try:
        yield made
    finally:
        await made.close()


Requests = Callable[[int], bytes]
"""The request number i of a loop, whole."""


async def closed_loop(
    port: int,
    requests: Requests,
    *,
    callers: int,
    seconds: float = float("inf"),
    total: float = float("inf"),
    source: str = LOOPBACK,
) -> list[Reply]:
    """Answers of `callers` that ask again as soon as they are answered, for some seconds or a number of requests."""
    ends, numbers, replies = time.monotonic() + seconds, itertools.count(), list[Reply]()

    async def caller(connections: Pool) -> None:
        while time.monotonic() < ends and (number := next(numbers)) < total:
            replies.append(await connections.ask(requests(number), number))

    async with pool(port, source=source) as connections:
        await asyncio.gather(*(caller(connections) for _ in range(callers)))
    return replies


async def open_loop(
    port: int,
    requests: Requests,
    *,
    rate: float,
    seconds: float,
    source: str = LOOPBACK,
    patience: float = 120.0,
    seen: Callable[[Reply], None] | None = None,
) -> list[Reply]:
    """Answers to arrivals at `rate` per second for some seconds, each whether the ones before are answered or not.

    With `seen` each answer goes there instead: what lasts long need not keep them all.
    """
    replies: list[Reply] = []
    hand_out = replies.append if seen is None else seen
    under_way: set[asyncio.Task[None]] = set()

    async def arrival(connections: Pool, number: int) -> None:
        hand_out(await connections.ask(requests(number), number))

    async with pool(port, source=source, patience=patience) as connections:
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            task = asyncio.create_task(arrival(connections, number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
    return replies


def with_status(replies: Sequence[Reply], status: int) -> list[Reply]:
    return [reply for reply in replies if reply.status == status]


def statuses(replies: Sequence[Reply]) -> dict[int, int]:
    """How many of each."""
    found: dict[int, int] = {}
    for reply in replies:
        found[reply.status] = found.get(reply.status, 0) + 1
    return found


def percentile(values: Sequence[float] | Iterator[float], share: float) -> float:
    """The value that `share` of them do not exceed, by the nearest rank."""
    ordered = sorted(values)
    assert ordered, "nothing was measured"
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
