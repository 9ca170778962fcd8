"""Too much work, callers that go, and SIGTERM while work is under way."""

from __future__ import annotations

import json
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.runtime.conftest import Start
from tests.support.hub_mirror import running
from tests.support.models import MINILM
from tests.support.runtime_server import RuntimeServer
from tests.support.waiting import eventually

# A second or two of work on two cores.
MANY = 24
HEAVY = {"inputs": ["word " * 300] * MANY}


def metric(server: RuntimeServer, name: str) -> float:
    for line in server.metrics().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[-1])
    raise AssertionError(f"no metric {name}")


def test_a_full_queue_answers_429_at_once_and_accepted_work_is_answered(start: Start) -> None:
    with start(MINILM, True, SLIPWAY_MAX_QUEUE_TOKENS="1000", SLIPWAY_MAX_BATCH_TOKENS="256") as server:
        server.wait_for_stage("Ready")
        with ThreadPoolExecutor(40) as pool:
            heavy = pool.submit(server.post, HEAVY)  # larger than the queue, but that is empty
            eventually(lambda: server.status()["queued"] > 0)
            answers = list(pool.map(lambda _: server.post({"inputs": "word " * 60}), range(20)))
            refused = [answer for answer in answers if answer.status_code == 429]
            assert refused
            for answer in refused:
                assert answer.json()["error_type"] == "overloaded"
                assert answer.json()["error"].startswith("the queue is full (")
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.elapsed.total_seconds() < 5
            assert {answer.status_code for answer in answers} <= {200, 429}
            assert server.probe("livez") == server.probe("readyz") == 200
            assert len(heavy.result(120).json()) == MANY


def test_work_of_a_caller_who_has_gone_is_dropped_from_the_queue(start: Start) -> None:
    with start(MINILM, True, SLIPWAY_MAX_BATCH_TOKENS="256") as server:  # one text per batch
        server.wait_for_stage("Ready")
        body = json.dumps(HEAVY).encode()
        with socket.create_connection(("127.0.0.1", server.http_port)) as caller:
            caller.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            eventually(lambda: server.status()["queued"] > 0, interval=0.005)
        eventually(lambda: server.status()["queued"] == 0, timeout=20, interval=0.005)
        assert metric(server, "slipway_dropped_total") > 0
        assert server.post({"inputs": "word"}).status_code == 200
        eventually(lambda: any(line.get("code") == 499 for line in server.lines()))


def test_sigterm_loses_no_request_turns_unready_first_and_exits_0(start: Start) -> None:
    with start(MINILM, True, SLIPWAY_UNREADY_SECONDS="1", SLIPWAY_DRAIN_SECONDS="120") as server:
        server.wait_for_stage("Ready")
        with ThreadPoolExecutor(4) as pool:
            in_flight = pool.submit(server.post, HEAVY)
            eventually(lambda: server.status()["queued"] > 0)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: server.probe("readyz") == 503, timeout=5)
            assert server.status()["stage"] == "Draining"
            late = pool.submit(server.post, {"inputs": "still on its way"})  # a new connection after SIGTERM
            assert late.result(120).status_code == 200
            assert late.result().headers["connection"] == "close"
            assert len(in_flight.result(120).json()) == MANY
        assert server.process.wait(120) == 0
        assert [line["message"] for line in server.lines() if line["message"] in ("draining", "stopped")] == [
            "draining",
            "stopped",
        ]


def test_sigterm_in_the_middle_of_a_download_exits_0_at_once(hub_root: Path, start: Start) -> None:
    with running(hub_root) as (url, mirror):
        mirror.faults.hold = threading.Event()
        with start(MINILM, True, HF_ENDPOINT=url) as server, ThreadPoolExecutor() as pool:
            held = pool.submit(server.post, {"inputs": "a"})
            eventually(lambda: any(seen.path.endswith(".safetensors") for seen in mirror.requests))
            eventually(lambda: server.status()["inFlight"] == 1)
            assert server.terminate(10) == 0
            assert held.result(10).status_code == 503  # told, not cut off


def test_what_exceeds_the_drain_is_answered_503_and_the_exit_is_still_0(start: Start) -> None:
    with start(MINILM, True, SLIPWAY_DRAIN_SECONDS="1") as server, ThreadPoolExecutor() as pool:
        server.wait_for_stage("Ready")
        heavy = pool.submit(server.post, {"inputs": ["word " * 300] * 200})
        eventually(lambda: server.status()["inFlight"] == 1)
        assert server.terminate(15) == 0
        answer = heavy.result(10)
        assert (answer.status_code, answer.json()["error_type"]) == (503, "unavailable")
        assert "shutting down" in answer.json()["error"]
