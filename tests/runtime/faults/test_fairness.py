"""One caller's thousand requests do not starve another's one: neither in the queue nor on the way into it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.runtime.conftest import Serve, Start
from tests.support import load, models
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation
from tests.support.waiting import eventually

GREEDY = "127.0.0.2"
OTHER = "127.0.0.3"
OUTSTANDING = 240
TEXT = load.post({"inputs": "word " * 60})
SINGLES = 3


@pytest.fixture(scope="module")
def server(start: Start) -> Iterator[RuntimeServer]:
    with start(models.MINILM, True, SLIPWAY_THREADS="1") as server:
        server.wait_for_stage("Ready")
        yield server


async def _beside(
    server: RuntimeServer, greedy: bytes, single: bytes, *, outstanding: int
) -> tuple[float, list[load.Reply]]:
    """How long the last of the greedy caller's waited, and the other's answers, asked for one by one meanwhile."""
    loop = load.closed_loop(server.http_port, lambda _: greedy, callers=outstanding, total=outstanding, source=GREEDY)
    crowd = asyncio.create_task(loop)
    await asyncio.to_thread(eventually, lambda: server.status()["inFlight"] >= outstanding * 0.9)
    async with load.pool(server.http_port, source=OTHER) as other:
        singles = [await other.ask(single) for _ in range(SINGLES)]
    replies = await crowd
    served = [reply.seconds for reply in load.with_status(replies, 200)]
    return load.percentile(served, 0.95), singles


def test_a_single_request_beside_hundreds_of_another_caller_waits_for_a_few_batches_only(server: RuntimeServer) -> None:
    last, singles = asyncio.run(_beside(server, TEXT, TEXT, outstanding=OUTSTANDING))
    assert load.statuses(singles) == {200: SINGLES}
    # In one line for all it would wait as long as the last of the hundreds.
    assert load.percentile([reply.seconds for reply in singles], 0.5) < last / 3


def test_a_text_beside_another_callers_many_inputs_in_one_request_does_not_wait_for_all_of_them(
    server: RuntimeServer,
) -> None:
    many = load.post({"inputs": ["word " * 60] * 50})
    last, singles = asyncio.run(_beside(server, many, TEXT, outstanding=2))
    assert load.statuses(singles) == {200: SINGLES}
    assert load.percentile([reply.seconds for reply in singles], 0.5) < last / 3


def test_a_caller_who_has_filled_the_queue_is_refused_and_another_is_not(start: Start) -> None:
    variables = {"SLIPWAY_MAX_QUEUE_TOKENS": "2000", "SLIPWAY_THREADS": "1"}
    with start(models.MINILM, True, **variables) as server:
        server.wait_for_stage("Ready")
        asyncio.run(_full(server))


async def _full(server: RuntimeServer) -> None:
    loop = load.closed_loop(server.http_port, lambda _: TEXT, callers=200, total=1000, source=GREEDY)
    crowd = asyncio.create_task(loop)
    await asyncio.to_thread(eventually, lambda: server.metric("slipway_request_total", code="429") > 0)
    async with load.pool(server.http_port, source=OTHER) as other:
        singles = [await other.ask(TEXT) for _ in range(SINGLES)]
    refused = load.with_status(await crowd, 429)
    assert load.statuses(singles) == {200: SINGLES}
    assert refused


def test_a_caller_who_holds_all_requests_that_may_be_here_leaves_room_for_another(start: Start) -> None:
    with start("tiny/classifier", True, SLIPWAY_MAX_REQUESTS="8") as server:
        server.wait_for_stage("Ready")
        asyncio.run(_all_slots(server))


async def _all_slots(server: RuntimeServer) -> None:
    unfinished = load.post({"inputs": "the film"})[:-1]
    held = [await load.Connection.open(server.http_port, source=GREEDY) for _ in range(8)]
    for connection in held:
        await connection.send(unfinished)
    await asyncio.to_thread(eventually, lambda: server.status()["inFlight"] >= 7)
    async with load.pool(server.http_port, source=OTHER) as other:
        assert (await other.ask(load.post({"inputs": "the film"}))).status == 200
    async with load.pool(server.http_port, source=GREEDY) as more:
        assert (await more.ask(load.post({"inputs": "the film"}))).status == 429
    for connection in held:
        await connection.close()


def test_a_short_answer_beside_another_callers_many_long_ones_does_not_wait_for_them(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = generation.decoder(tmp_path_factory.mktemp("fair") / "model", max_position_embeddings=4096)
    with serve(folder, SLIPWAY_THREADS="1") as server:
        asyncio.run(_writing(server))


async def _writing(server: RuntimeServer) -> None:
    def asked(tokens: int) -> bytes:
        return load.post({"inputs": "the film", "parameters": {"max_new_tokens": tokens, "min_new_tokens": tokens}})

    last, singles = await _beside(server, asked(150), asked(2), outstanding=OUTSTANDING)
    assert load.statuses(singles) == {200: SINGLES}
    assert load.percentile([reply.seconds for reply in singles], 0.5) < last / 3
