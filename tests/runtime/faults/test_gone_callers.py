"""Callers that hang up: what they asked for is dropped where it waits and stopped where it runs; nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.load import Connection, get, pool, post
from tests.support.memory import Held, cpu_seconds, held
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation
from tests.support.waiting import aeventually, consistently, eventually

TOGETHER = 25
"""So many callers go at a time."""
PER_ROUND = 50
"""So many while one long forward runs."""
MANY = pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.full)])
ENDLESS = 100_000
"""Tokens that take minutes."""
LONG = 8192
PLAIN = post({"inputs": "the film was great"})
ASKED = {"inputs": "the film", "parameters": {"max_new_tokens": ENDLESS, "min_new_tokens": ENDLESS}}
WHOLE = post(ASKED)
STREAM = post({**ASKED, "stream": True})


@pytest.fixture(scope="module")
def embedder(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """A long text keeps its model busy for seconds, in one forward."""
    folder = tmp_path_factory.mktemp("gone") / "model"
    models.sentence_transformer(folder, max_seq_length=LONG)
    models.encoder(folder, max_position_embeddings=LONG, num_hidden_layers=24)
    with serve(folder, SLIPWAY_THREADS="1") as server:
        yield server


@pytest.fixture(scope="module")
def writer(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Writes for minutes where it is asked to."""
    folder = generation.decoder(tmp_path_factory.mktemp("gone") / "model", max_position_embeddings=2 * ENDLESS)
    variables = {"SLIPWAY_MAX_NEW_TOKENS": str(ENDLESS), "SLIPWAY_MAX_INPUT_TOKENS": "256", "SLIPWAY_THREADS": "1"}
    with serve(folder, **variables) as server:
        yield server


class NothingStays:
    """What a server held before some callers came and went, and that it holds no more afterwards."""

    def __init__(self, server: RuntimeServer) -> None:
        self._server = server
        self.before = held(server.process.pid)

    def check(self) -> None:
        eventually(self._idle, timeout=60)
        # Less than a twentieth of it more; a hundred bodies or tasks that were kept would be.
        now = held(self._server.process.pid)
        assert now.megabytes < 1.05 * self.before.megabytes + 5, (self.before, now)

    def _idle(self) -> Held:
        status = self._server.status()
        assert (status["inFlight"], status["queued"]) == (0, 0), status
        now = held(self._server.process.pid)
        assert now.handles <= self.before.handles, (self.before, now)
        assert now.threads <= self.before.threads, (self.before, now)
        return now


async def until(server: RuntimeServer, holds: Callable[[Any], bool]) -> None:
    """Wait for a /status."""
    async with pool(server.admin_port) as admin:

        async def check() -> bool:
            return holds((await admin.ask(get("/status"))).json())

        await aeventually(check, interval=0.01)


Gone = Callable[[RuntimeServer], Coroutine[Any, Any, None]]


async def come_and_go(server: RuntimeServer, gone: Gone, count: int) -> None:
    """`count` callers, TOGETHER at a time, each of which does `gone`."""
    for _ in range(count // TOGETHER):
        async with asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(gone(server))


# Waiting in the queue


@MANY
def test_what_waits_for_callers_who_have_gone_is_dropped_and_never_run(embedder: RuntimeServer, count: int) -> None:
    asyncio.run(_gone_while_queued(embedder, count))


async def _gone_while_queued(server: RuntimeServer, count: int) -> None:
    await asyncio.gather(*(_ask(server, PLAIN) for _ in range(TOGETHER)))  # what is made once is made
    assert await _ask(server, post({"inputs": ["film " * 500] * 20})) == 200
    stays = NothingStays(server)
    ran, dropped = server.metric("slipway_batch_size_sum"), server.metric("slipway_dropped_total")
    rounds = count // PER_ROUND
    for _ in range(rounds):
        await _gone_behind_a_long_forward(server)
    # Only what they waited for was run.
    assert server.metric("slipway_batch_size_sum") == ran + rounds
    assert server.metric("slipway_dropped_total") == dropped + count
    stays.check()


async def _gone_behind_a_long_forward(server: RuntimeServer) -> None:
    ran = server.metric("slipway_batch_size_sum")
    blocker = asyncio.create_task(_ask(server, post({"inputs": "film " * LONG})))
    await asyncio.to_thread(eventually, lambda: server.metric("slipway_batch_size_sum") > ran)
    for _ in range(PER_ROUND // TOGETHER):
        callers = [await Connection.open(server.http_port) for _ in range(TOGETHER)]
        for caller in callers:
            await caller.send(PLAIN)
        await until(server, lambda status: status["queued"] == TOGETHER)
        for number, caller in enumerate(callers):
            if number % 2:
                caller.abort()
            else:
                await caller.close()
        await until(server, lambda status: status["queued"] == 0)
    assert await blocker == 200


async def _ask(server: RuntimeServer, raw: bytes) -> int:
    connection = await Connection.open(server.http_port)
    reply = await connection.ask(raw)
    await connection.close()
    return reply.status


# While the model writes


async def gone_while_it_writes(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(WHOLE)
    await until(server, lambda status: status["inFlight"] > 0)
    caller.abort()


async def gone_after_the_first_events(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(STREAM)
    reply = await caller.head()
    assert reply.status == 200
    pieces = caller.pieces(reply)
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    await caller.close()


@MANY
@pytest.mark.parametrize("gone", [gone_while_it_writes, gone_after_the_first_events], ids=["whole", "stream"])
def test_the_model_stops_writing_for_callers_who_have_gone(writer: RuntimeServer, gone: Gone, count: int) -> None:
    asyncio.run(come_and_go(writer, gone, TOGETHER))
    eventually(lambda: writer.status()["inFlight"] == 0)
    stays = NothingStays(writer)
    asyncio.run(come_and_go(writer, gone, count))
    stays.check()
    eventually(lambda: is_idle(writer), timeout=30)
    consistently(lambda: is_idle(writer), duration=1)
    asked = {"inputs": "the film", "parameters": {"max_new_tokens": 3}}
    assert writer.post(asked).status_code == 200


def is_idle(server: RuntimeServer) -> bool:
    """Whether its process takes next to no processor time: a generation that goes on takes a whole core."""
    before, began = cpu_seconds(server.process.pid), time.monotonic()
    time.sleep(0.3)
    return cpu_seconds(server.process.pid) - before < 0.25 * (time.monotonic() - began)


def test_the_neighbours_of_a_caller_who_has_gone_are_answered_as_if_alone(writer: RuntimeServer) -> None:
    body = {"inputs": "a cat of the", "parameters": {"max_new_tokens": 60, "min_new_tokens": 60}}
    alone = writer.post(body).json()

    async def among_others() -> list[object]:
        going = asyncio.create_task(come_and_go(writer, gone_after_the_first_events, TOGETHER))
        connection = await Connection.open(writer.http_port)
        answers = [(await connection.ask(post(body))).json() for _ in range(5)]
        await connection.close()
        await going
        return answers

    assert asyncio.run(among_others()) == [alone] * 5


# On the way in


async def gone_in_the_headers(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(PLAIN.partition(b"\r\n\r\n")[0])
    caller.abort()


async def gone_in_the_body(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(PLAIN[:-5])
    await until(server, lambda status: status["inFlight"] > 0)
    caller.abort()


async def gone_in_a_chunk(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(b'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n{"inputs"')
    await until(server, lambda status: status["inFlight"] > 0)
    await caller.close()


async def half_closed(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(PLAIN)
    caller.half_close()
    with contextlib.suppress(EOFError):  # who sends no more may be taken for gone
        assert (await caller.head()).status == 200
    await caller.close()


async def half_closed_in_the_body(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(PLAIN[:-5])
    caller.half_close()
    with pytest.raises(EOFError):
        await caller.head()
    await caller.close()


async def gone_with_several_requests_in_line(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(PLAIN * 8)
    assert (await caller.head()).status == 200
    caller.abort()


async def gone_unread(server: RuntimeServer) -> None:
    caller = await Connection.open(server.http_port)
    await caller.send(PLAIN)
    await caller.close()


ON_THE_WAY = (
    gone_in_the_headers,
    gone_in_the_body,
    gone_in_a_chunk,
    half_closed,
    half_closed_in_the_body,
    gone_with_several_requests_in_line,
    gone_unread,
)


@MANY
def test_callers_who_go_on_the_way_leave_nothing_behind(embedder: RuntimeServer, count: int) -> None:
    for gone in ON_THE_WAY:
        asyncio.run(come_and_go(embedder, gone, TOGETHER))  # what is made once is made
    eventually(lambda: embedder.status()["inFlight"] == 0)
    stays = NothingStays(embedder)
    for gone in ON_THE_WAY:
        asyncio.run(come_and_go(embedder, gone, count // 2))
    stays.check()
    assert embedder.post({"inputs": "the film"}).status_code == 200


def test_a_caller_who_has_gone_is_told_from_a_failure_in_the_log(embedder: RuntimeServer) -> None:
    before = len([line for line in embedder.lines() if line.get("code") == 499])
    asyncio.run(gone_in_the_body(embedder))
    eventually(lambda: len([line for line in embedder.lines() if line.get("code") == 499]) > before)
    assert not [line for line in embedder.lines() if line["level"] in ("error", "critical")]
