"""The load client, asked by the bench as a child: callers in a closed loop, arrivals in an open one, a server's end.

It costs about 50 µs of CPU per request; its share is in the results.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from bench.runtime.child import answer
from bench.runtime.connection import Answer, Connection, Refused, Reset, connect
from bench.runtime.inputs import Source, words
from bench.runtime.limits import Asked, load
from bench.runtime.wire import Request, Wire, pairs, requests
from bench.table import percentile

SETTLE_SECONDS = 0.5  # callers start all at once, which is no state to measure
HEALTH = b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n"
ORPHANS_SECONDS = 15  # after SIGTERM; who still listens then will not end by itself
LEAST_ANSWERS = 3  # per caller; a window is longer where so many take longer
SAMPLES = 8  # answers of a window that are judged afterwards


class Client:
    """Asks one server."""

    def __init__(self) -> None:
        self._port = 0
        self._source: Source | None = None
        self._wire = Wire()

    def target(self, *, port: int, folder: str, workload: str, seed: int, path: str, chat: bool) -> None:
        """Which server, and with what."""
        self._port, self._wire = port, Wire(path, chat)
        self._source = Source(words(Path(folder)), workload, seed)

    def one(self, at_once: int = 1, timeout: float = 240.0) -> dict[str, Any]:
        """A server that starts: when it answered at all, and when a request with 200; seconds since the epoch."""
        request = next(self._requests(at_once))

        async def answered(raw: bytes, *statuses: int) -> tuple[Answer, float]:
            while True:
                try:
                    connection = await connect(self._port)
                    given = await connection.ask(raw)
                    at = time.time()
                    connection.close()
                    if not statuses or given.status in statuses:
                        return given, at
                except (Refused, Reset):
                    pass
                await asyncio.sleep(0.005)

        async def until_answered() -> dict[str, Any]:
            async with asyncio.timeout(timeout):
                _, port = await answered(HEALTH)
                given, answer = await answered(request.raw, 200)
            return {"port": port, "answer": answer, "pairs": pairs(request.texts, given.body, self._wire)}

        return uvloop.run(until_answered())

    def closed(self, callers: int, seconds: float, at_once: int = 1) -> dict[str, Any]:
        """So many callers, each with one request at a time, without a pause."""
        return _measured(lambda asks: self._closed(callers, seconds, asks), self._requests(at_once), self._wire)

    def arrivals(self, rate: float, seconds: float) -> dict[str, Any]:
        """Requests at random moments, `rate` per second, whatever becomes of those before."""
        return _measured(lambda asks: self._arrivals(rate, seconds, asks), self._requests(1), self._wire)

    def ending(self, callers: int, pid: int, before: float) -> dict[str, Any]:
        """Callers in a closed loop; after `before` seconds the process gets SIGTERM; until nobody listens any more."""
        return uvloop.run(_ending(self._port, callers, pid, before, self._requests(1)))

    def _requests(self, at_once: int) -> Iterator[Request]:
        assert self._source is not None
        return requests(self._source, self._wire, at_once)

    async def _closed(self, callers: int, seconds: float, asks: Asks) -> tuple[float, float]:
        connections = [await connect(self._port) for _ in range(callers)]
        began = time.perf_counter() + SETTLE_SECONDS
        ended, open_at_end = 0.0, callers

        async def caller(connection: Connection) -> None:
            nonlocal ended, open_at_end
            # Goes on until all that was asked within the window is answered: the last ones are to find the same load.
            late = False
            while not late or open_at_end:
                if not connection.open:
                    connection = await connect(self._port)
                await asks(connection)
                now = time.perf_counter()
                if not ended and now >= began + seconds and asks.since(began) >= LEAST_ANSWERS * callers:
                    ended = now
                if ended and not late:
                    late = True
                    open_at_end -= 1
            connection.close()

        async with asyncio.timeout(seconds + 120):
            await asyncio.gather(*(caller(connection) for connection in connections))
        return began, ended

    async def _arrivals(self, rate: float, seconds: float, asks: Asks) -> tuple[float, float]:
        draw = random.Random(1)  # noqa: S311
        idle: list[Connection] = []
        running: set[asyncio.Task[None]] = set()

        async def arrival() -> None:
            arrived = time.perf_counter()
            connection = idle.pop() if idle else None
            if connection is None or not connection.open:
                connection = await connect(self._port)
            await asks(connection, arrived)
            if connection.open:
                idle.append(connection)

        began = at = time.perf_counter()
        while at < began + seconds:
            at += draw.expovariate(rate)
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            task = asyncio.create_task(arrival())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        for connection in idle:
            connection.close()
        # Until the last is answered: those that waited longest belong to it.
        return began, time.perf_counter()


class Asks:
    """Sends requests and keeps what became of them."""

    def __init__(self, source: Iterator[Request]) -> None:
        self._source = source
        self._draw = random.Random(2)  # noqa: S311
        self.asked: list[Asked] = []
        self.retry_after: set[str] = set()
        self.kept: list[tuple[Request, Answer]] = []

    def since(self, began: float) -> int:
        """How many requests have ended since."""
        return sum(one.ended >= began for one in self.asked)

    async def __call__(self, connection: Connection, arrived: float = 0.0) -> None:
        """`arrived`: when the caller came, where that is before it had a connection."""
        request = next(self._source)
        began = arrived or time.perf_counter()
        try:
            given = await connection.ask(request.raw)
        except Reset:
            now = time.perf_counter()
            self.asked.append(Asked(began, now, now, 0))
            return
        self.asked.append(Asked(began, given.first, given.ended, given.status))
        if given.status == 429:
            self.retry_after.add(given.retry_after)
        if given.status != 200:
            return
        # Reservoir sampling (Vitter 1985, algorithm R): any answer of the window is as likely to be judged.
        place = len(self.asked) - 1
        if place >= SAMPLES:
            place = self._draw.randrange(len(self.asked))
        if place < SAMPLES:
            self.kept[place : place + 1] = [(request, given)]


def _measured(run: Any, source: Iterator[Request], wire: Wire) -> dict[str, Any]:
    asks = Asks(source)
    before, at = _cpu(), time.perf_counter()
    began, ended = uvloop.run(run(asks))
    core = (_cpu() - before) / (time.perf_counter() - at)
    refused = [one.ended - one.began for one in asks.asked if one.status == 429]
    return {
        "load": load(asks.asked, began, ended)._asdict(),
        "statuses": {str(status): count for status, count in Counter(one.status for one in asks.asked).items()},
        "refused": {"p50": percentile(refused, 0.5), "p99": percentile(refused, 0.99)} if refused else None,
        "retry_after": sorted(asks.retry_after),
        "pairs": [pair for request, given in asks.kept for pair in pairs(request.texts, given.body, wire)],
        "core": core,
        "asked": len(asks.asked),
    }


async def _ending(port: int, callers: int, pid: int, before: float, source: Iterator[Request]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    signalled = since_epoch = 0.0

    async def caller() -> None:
        connection: Connection | None = None
        while True:
            began = time.perf_counter()
            try:
                if connection is None or not connection.open:
                    connection = await connect(port)
                given = await connection.ask(next(source).raw)
                outcome = "answered" if given.status == 200 else str(given.status)
            except Reset:
                outcome, connection = "reset", None
            except Refused:
                outcomes["refused later"] += 1
                return
            if signalled and time.perf_counter() > signalled + ORPHANS_SECONDS:
                outcomes["listens on"] += 1
                return
            if signalled:
                outcomes[f"in flight {outcome}" if began < signalled else f"later {outcome}"] += 1

    async def end() -> None:
        nonlocal signalled, since_epoch
        await asyncio.sleep(before)
        signalled, since_epoch = time.perf_counter(), time.time()
        os.kill(pid, signal.SIGTERM)

    async with asyncio.timeout(90):
        await asyncio.gather(end(), *(caller() for _ in range(callers)))
    return {"signalled": since_epoch, "outcomes": dict(outcomes)}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    client = Client()
    answer({name: getattr(client, name) for name in ("target", "one", "closed", "arrivals", "ending")})
