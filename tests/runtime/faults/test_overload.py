"""More work than the model can do: the excess is refused at once, the rest is answered in time, nothing grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.conftest import Serve, Start
from tests.support import load, models
from tests.support.memory import held
from tests.support.runtime_server import RuntimeServer
from tests.support.waiting import eventually

QUEUE_TOKENS = 4096
TEXT = load.post({"inputs": "word " * 60})
TEXT_TOKENS = 62
MAX_RETRY_SECONDS = 60
DEADLINE = 1.5


@pytest.fixture(scope="module")
def server(start: Start) -> Iterator[RuntimeServer]:
    with start(models.MINILM, True, SLIPWAY_MAX_QUEUE_TOKENS=str(QUEUE_TOKENS), SLIPWAY_THREADS="1") as server:
        server.wait_for_stage("Ready")
        yield server


@pytest.mark.parametrize("seconds", [8, pytest.param(600, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
def test_at_three_times_the_capacity_the_excess_gets_429_the_rest_200_and_memory_is_flat(
    server: RuntimeServer, seconds: int
) -> None:
    asyncio.run(_overload(server, seconds))


async def _overload(server: RuntimeServer, seconds: int) -> None:
    port = server.http_port
    unloaded = await load.closed_loop(port, lambda _: TEXT, callers=16, seconds=2)
    assert load.statuses(unloaded) == {200: len(unloaded)}
    capacity = len(unloaded) / (max(reply.began + reply.seconds for reply in unloaded) - unloaded[0].began)
    counts: dict[int, int] = {}
    refused: list[float] = []
    accepted: list[float] = []
    memory: list[float] = []
    probes: set[int] = set()

    def seen(reply: load.Reply) -> None:
        counts[reply.status] = counts.get(reply.status, 0) + 1
        if reply.status == 429:
            assert 1 <= int(reply.headers["retry-after"]) <= MAX_RETRY_SECONDS
            assert reply.json()["error_type"] == "overloaded"
        {200: accepted, 429: refused}.get(reply.status, []).append(reply.seconds)

    async def watched() -> None:
        async with load.pool(server.admin_port) as admin:
            while True:
                await asyncio.sleep(min(5.0, seconds / 20))
                memory.append(held(server.process.pid).megabytes)
                probes.update([(await admin.ask(load.get(f"/{name}"))).status for name in ("livez", "readyz")])

    watcher = asyncio.create_task(watched())
    await load.open_loop(port, lambda _: TEXT, rate=3 * capacity, seconds=seconds, seen=seen)
    assert not watcher.done(), watcher.result()
    watcher.cancel()

    # Only answers and refusals: no 5xx, no broken connection.
    assert counts.keys() == {200, 429}, counts
    # What can be done is done: refusing costs little. Loose, for the capacity of a busy machine changes.
    assert counts[200] > 0.4 * capacity * seconds, (counts, capacity)
    # A full queue, and what runs, is all that one ever waits for.
    assert load.percentile(accepted, 0.99) < 5 * QUEUE_TOKENS / (TEXT_TOKENS * capacity) + 5
    assert load.percentile(refused, 0.5) < 1
    # Overload fails no probe, so nothing restarts the pod.
    assert probes == {200}
    assert [line["message"] for line in server.lines()].count("ready") == 1
    warm = memory[len(memory) // 4]
    assert max(memory[len(memory) // 4 :]) < 1.05 * warm, memory
    # It recovers at once.
    assert server.post({"inputs": "word"}).status_code == 200
    eventually(lambda: server.status()["inFlight"] == 0)


def test_the_most_requests_that_may_be_here_are_refused_beyond_before_their_body_is_read(
    serve: Serve, tmp_path: Path
) -> None:
    with serve(models.classifier(tmp_path / "model"), SLIPWAY_MAX_REQUESTS="4") as server:
        asyncio.run(_many_open(server))


async def _many_open(server: RuntimeServer) -> None:
    unfinished = load.post({"inputs": "the film"})[:-1]
    waiting = [await load.Connection.open(server.http_port) for _ in range(4)]
    for connection in waiting:
        await connection.send(unfinished)
    eventually(lambda: server.status()["inFlight"] == 4)
    late = await load.Connection.open(server.http_port)
    await late.send(unfinished)
    refused = await late.head()
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    await late.close()
    for connection in waiting:
        await connection.send(b"}")
        assert (await connection.head()).status == 200
        await connection.close()
    eventually(lambda: server.status()["inFlight"] == 0)


# Deadlines


@pytest.fixture(scope="module")
def slow(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Embeddings whose forward takes seconds for a long text, and a deadline shorter than that."""
    folder = tmp_path_factory.mktemp("slow") / "model"
    models.sentence_transformer(folder, max_seq_length=LONG)
    models.encoder(folder, max_position_embeddings=LONG, num_hidden_layers=24)
    variables = {"SLIPWAY_REQUEST_TIMEOUT_SECONDS": str(DEADLINE), "SLIPWAY_FORWARD_TIMEOUT_SECONDS": "300"}
    with serve(folder, SLIPWAY_THREADS="1", **variables) as server:
        yield server


LONG = 8192
LATE = f"not answered within {DEADLINE:g} s; send less at once, or later"
SHAPES: dict[str, tuple[str, Any, Any]] = {
    "huggingface": ("/", {"inputs": "the film"}, {"error": LATE, "error_type": "timeout"}),
    "openai": (
        "/v1/embeddings",
        {"model": "dummy", "input": "the film"},
        {"error": {"message": LATE, "type": "server_error", "param": None, "code": "timeout"}},
    ),
    "open inference": (
        "/v2/models/model/infer",
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["the film"]}]},
        {"error": LATE},
    ),
    "azure": (
        "/score",
        {"input_data": ["the film"]},
        {"error": {"code": "Timeout", "message": LATE}, "message": LATE},
    ),
    "sagemaker": ("/invocations", {"inputs": "the film"}, {"error": LATE, "error_type": "timeout"}),
}


def test_what_waits_longer_than_the_deadline_gets_504_in_its_format_and_is_not_run(slow: RuntimeServer) -> None:
    asyncio.run(_deadlines(slow))


async def _deadlines(server: RuntimeServer) -> None:
    inputs_before, dropped_before = server.metric("slipway_batch_size_sum"), server.metric("slipway_dropped_total")
    async with load.pool(server.http_port) as connections:
        blocking = asyncio.create_task(connections.ask(load.post({"inputs": "film " * LONG})))
        await asyncio.to_thread(eventually, lambda: server.metric("slipway_batch_size_sum") == inputs_before + 1)
        began = time.monotonic()
        asked = [load.post(body, path) for path, body, _ in SHAPES.values()]
        late = await asyncio.gather(*(connections.ask(raw) for raw in asked))
        took = time.monotonic() - began
        first = await blocking
    for (name, (_, _, shape)), reply in zip(SHAPES.items(), late, strict=True):
        assert (reply.status, reply.json()) == (504, shape), name
        assert "retry-after" not in reply.headers  # the same would take as long again
    assert DEADLINE <= took < DEADLINE + 10
    assert first.status == 504
    assert server.metric("slipway_dropped_total") == dropped_before + len(SHAPES)
    # Once the model is free it does what is wanted, not what nobody waits for any more.
    eventually(lambda: server.post({"inputs": "the film"}).status_code == 200, timeout=60)
    assert server.metric("slipway_batch_size_sum") == inputs_before + 2
