"""Several workers on one port, SLIPWAY_WORKERS: one copy of the weights, one admin port, one life."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.runtime.conftest import Serve, Start
from tests.support import breaking, load, models
from tests.support.hub_mirror import running
from tests.support.memory import own_megabytes
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.waiting import eventually

BODY = {"inputs": "the film"}
RAW = load.post(BODY)


@pytest.fixture(scope="module")
def pair(start: Start) -> Iterator[RuntimeServer]:
    with start("tiny/classifier", True, SLIPWAY_WORKERS="2") as server:
        server.wait_for_stage("Ready")
        yield server


@contextmanager
def breakable(folder: Path, model: Path, **variables: str) -> Iterator[RuntimeServer]:
    """Two workers; a file `hang` in `folder` holds every forward."""
    prepare = functools.partial(breaking.forwards, str(folder))
    further = {"SLIPWAY_MODEL_PATH": str(model), "SLIPWAY_WORKERS": "2"} | variables
    with serving(folder, True, prepare, **further) as server:
        server.wait_for_stage("Ready")
        yield server


def by_worker(server: RuntimeServer) -> Counter[int]:
    """Requests in the log, by who answered them."""
    return Counter(line["worker"] for line in server.lines() if line["message"] == "request")


async def on_connections(port: int, count: int) -> list[load.Reply]:
    """All open at once, then one request on each."""
    connections = await asyncio.gather(*(load.Connection.open(port) for _ in range(count)))
    replies = await asyncio.gather(*(connection.ask(RAW) for connection in connections))
    for connection in connections:
        await connection.close()
    return replies


# Connections


@pytest.mark.parametrize("count", [2, 32])
def test_connections_that_come_at_once_are_shared_evenly(pair: RuntimeServer, count: int) -> None:
    before = by_worker(pair)
    assert load.statuses(asyncio.run(on_connections(pair.http_port, count))) == {200: count}
    found = eventually(lambda: one if (one := by_worker(pair) - before).total() == count else None)
    assert max(found.values()) <= count // 2 + count // 8, found


def test_a_worker_that_hangs_gets_no_further_connections(start: Start) -> None:
    with start("tiny/classifier", True, SLIPWAY_WORKERS="2") as server:
        server.wait_for_stage("Ready")
        os.kill(server.workers()[0], signal.SIGSTOP)
        assert load.statuses(asyncio.run(on_connections(server.http_port, 8))) == {200: 8}
        eventually(lambda: by_worker(server) == {1: 8})


def test_bounds_are_those_of_all_workers_together(tmp_path: Path, hub_root: Path) -> None:
    with (
        breakable(tmp_path, hub_root / "tiny/classifier", SLIPWAY_MAX_REQUESTS="4") as server,
        ThreadPoolExecutor() as pool,
    ):
        assert httpx.get(f"{server.url}/info").json()["max_concurrent_requests"] == 4
        (tmp_path / "hang").touch()
        asked = pool.submit(asyncio.run, on_connections(server.http_port, 12))
        eventually(lambda: server.status()["inFlight"] == 4)
        (tmp_path / "hang").unlink()
        assert load.statuses(asked.result(60)) == {200: 4, 429: 8}


# The admin port


def test_the_pod_is_ready_only_when_every_worker_is(start: Start) -> None:
    with start("tiny/classifier", True, SLIPWAY_WORKERS="2") as server:
        slow = server.workers()[1]
        os.kill(slow, signal.SIGSTOP)
        status = eventually(lambda: one if (one := server.status())["workers"][0]["stage"] == "Ready" else None)
        assert status["stage"] == "Starting"
        assert server.probe("readyz") == 503
        os.kill(slow, signal.SIGCONT)
        eventually(lambda: server.probe("readyz") == 200)
        assert server.status()["stage"] == "Ready"


def test_a_worker_that_hangs_makes_the_pod_not_live(start: Start) -> None:
    with start("tiny/classifier", True, SLIPWAY_WORKERS="2") as server:
        server.wait_for_stage("Ready")
        assert server.probe("livez") == 200
        os.kill(server.workers()[1], signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(httpx.get, f"{server.admin}/{path}", timeout=10) for path in ("livez", "metrics")]
            assert server.status()["message"] == "worker 1 does not answer"
        live, metrics = (one.result() for one in asked)
        assert (live.status_code, live.text) == (503, "worker 1 does not answer")
        assert metrics.status_code == 503, "a sum without it would be wrong"
        assert server.post(BODY).status_code == 200


def test_status_and_metrics_are_sums_over_the_workers(start: Start) -> None:
    with start("tiny/classifier", True, SLIPWAY_WORKERS="2") as server:
        server.wait_for_stage("Ready")
        assert load.statuses(asyncio.run(on_connections(server.http_port, 6))) == {200: 6}
        eventually(lambda: by_worker(server).total() == 6)
        assert set(by_worker(server)) == {0, 1}
        assert server.metric("slipway_request_total", code="200") == 6
        assert server.metric("slipway_request_duration_seconds_bucket", le="+Inf") == 6
        assert server.metric("te_request_success") == server.metric("te_request_duration_count") == 6
        assert server.metric("slipway_ready") == 1
        assert {worker: server.metric("process_cpu_seconds_total", worker=worker) > 0 for worker in "01"} == {
            "0": True,
            "1": True,
        }
        accept = {"accept": "application/openmetrics-text"}
        text = httpx.get(f"{server.admin}/metrics", headers=accept).text
        families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
        assert {family.name for family in families} >= {"slipway_request", "te_request_success"}
        status = server.status()
        assert (status["stage"], status["inFlight"], status["model"]["task"]) == ("Ready", 0, "text-classification")
        assert [worker["stage"] for worker in status["workers"]] == ["Ready", "Ready"]


def test_requests_in_flight_are_those_of_both_workers(tmp_path: Path, hub_root: Path) -> None:
    with breakable(tmp_path, hub_root / "tiny/classifier") as server, ThreadPoolExecutor() as pool:
        (tmp_path / "hang").touch()
        asked = pool.submit(asyncio.run, on_connections(server.http_port, 4))
        eventually(lambda: server.status()["inFlight"] == 4)
        assert [worker["inFlight"] for worker in server.status()["workers"]] == [2, 2]
        assert server.metric("slipway_requests_in_flight") == 4
        (tmp_path / "hang").unlink()
        assert load.statuses(asked.result(60)) == {200: 4}


# The weights


def test_the_model_is_fetched_once(hub_root: Path, start: Start) -> None:
    with (
        running(hub_root) as (url, mirror),
        start("tiny/classifier", True, HF_ENDPOINT=url, SLIPWAY_WORKERS="2") as both,
    ):
        both.wait_for_stage("Ready")
        files = Counter(seen.path for seen in mirror.requests if seen.method == "GET" and "/resolve/" in seen.path)
        assert set(files.values()) == {1}, files
        assert any(path.endswith(".safetensors") for path in files)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_weights_are_in_memory_once(tmp_path: Path, serve: Serve, stored: str) -> None:
    model = models.large_classifier(tmp_path / "model", stored)  # float32 is mapped, bfloat16 converted

    def held(workers: int) -> float:
        with serve(model, SLIPWAY_WORKERS=str(workers)) as server:
            for reply in asyncio.run(on_connections(server.http_port, 2 * workers)):
                assert reply.status == 200
            return sum(map(own_megabytes, server.workers() if workers > 1 else [server.process.pid]))

    one, two = held(1), held(2)  # of what conversion took up to 60 MB may stay with each, for whatever comes next
    assert one > models.LARGE_MEGABYTES
    assert two < 1.3 * one


def test_answers_are_those_of_one_worker(classifier: RuntimeServer, pair: RuntimeServer) -> None:
    expected = {one["label"]: one["score"] for one in classifier.post(BODY).json()[0]}
    for reply in asyncio.run(on_connections(pair.http_port, 4)):
        assert {one["label"]: one["score"] for one in reply.json()[0]} == pytest.approx(expected, abs=1e-5)


# The end


def test_a_worker_that_is_killed_ends_the_pod_after_the_other_has_drained(tmp_path: Path, hub_root: Path) -> None:
    with breakable(tmp_path, hub_root / "tiny/classifier") as server, ThreadPoolExecutor() as pool:
        (tmp_path / "hang").touch()
        asked = pool.submit(asyncio.run, on_connections(server.http_port, 1))
        eventually(lambda: server.status()["inFlight"] == 1)
        busy = [worker["inFlight"] for worker in server.status()["workers"]].index(1)
        os.kill(server.workers()[1 - busy], signal.SIGKILL)
        eventually(lambda: server.probe("readyz") == 503)
        (tmp_path / "hang").unlink()
        assert load.statuses(asked.result(60)) == {200: 1}
        assert server.process.wait(60) == 1
        word = json.loads((tmp_path / "termination").read_bytes())
        assert word["reason"] == "InternalError"
        assert word["message"].startswith(f"worker {1 - busy} of 2 was killed by SIGKILL")


@pytest.mark.full
def test_a_worker_that_does_not_end_is_killed(start: Start) -> None:
    with start(
        "tiny/classifier", True, SLIPWAY_WORKERS="2", SLIPWAY_DRAIN_SECONDS="0", SLIPWAY_UNREADY_SECONDS="0"
    ) as server:
        server.wait_for_stage("Ready")
        os.kill(server.workers()[0], signal.SIGSTOP)
        assert server.terminate(60) == 1
        assert server.lines()[-1]["detail"].startswith("worker 0 of 2 was killed by SIGKILL")


def test_no_worker_outlives_the_process_above_it(start: Start) -> None:
    with start("tiny/classifier", True, SLIPWAY_WORKERS="2") as server:
        workers = server.workers()
        server.process.kill()
        assert server.process.wait(30) == -signal.SIGKILL
        eventually(lambda: not any(alive(pid) for pid in workers))


def test_sigterm_before_there_is_a_model_ends_at_once(start: Start) -> None:
    with start("tiny/missing", True, SLIPWAY_WORKERS="2") as server:
        server.wait_for_fault("ModelNotFound")
        assert server.terminate(15) == 0
        with socket.socket() as fresh:
            assert fresh.connect_ex(("127.0.0.1", server.http_port)) != 0


def alive(pid: int) -> bool:
    """Orphans that have ended may wait for somebody to ask for their exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
