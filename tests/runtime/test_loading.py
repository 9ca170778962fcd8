"""While the model loads: the port answers, requests are held, then 503 with an estimate, and progress shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import Start
from tests.support.hub_mirror import running
from tests.support.models import MINILM
from tests.support.runtime_server import RuntimeServer
from tests.support.waiting import eventually

BODY = {"inputs": "the film was great"}


@contextmanager
def stuck(hub_root: Path, start: Start, **variables: str) -> Iterator[tuple[RuntimeServer, threading.Event]]:
    """A server whose download stops half-way until the event is set."""
    with running(hub_root) as (url, mirror):
        mirror.faults.hold = go_on = threading.Event()
        with start("tiny/classifier", True, HF_ENDPOINT=url, **variables) as server:
            yield server, go_on


def test_the_port_answers_before_torch_is_imported(start: Start) -> None:
    began = time.monotonic()
    with start("tiny/classifier") as server:
        answered = time.monotonic() - began
        modules = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "libtorch_cpu" not in modules, "torch was in memory before the first answer"
        assert answered < 30, "with a wide margin for a busy machine; the README has the figure"
        assert server.probe("livez") == 200
        assert server.probe("readyz") == 503
        assert httpx.get(f"{server.url}/health").status_code == 503
        ready = server.wait_for_stage("Ready")
        assert server.probe("readyz") == 200
        assert ready["model"]["task"] == "text-classification"
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_request_is_held_until_the_model_answers(hub_root: Path, start: Start) -> None:
    with stuck(hub_root, start) as (server, go_on), ThreadPoolExecutor() as pool:
        held = pool.submit(server.post, BODY)
        eventually(lambda: server.status()["inFlight"] == 1)
        go_on.set()
        assert held.result(timeout=120).status_code == 200


def test_held_as_long_as_allowed_then_503_with_an_estimate(hub_root: Path, start: Start) -> None:
    with stuck(hub_root, start, SLIPWAY_HOLD_SECONDS="0.2") as (server, go_on):
        server.wait_for_stage("Downloading")
        answer = server.post(BODY)
        assert answer.status_code == 503
        content = answer.json()
        assert content["error"] == "Model tiny/classifier is currently loading"
        assert content["estimated_time"] > 0
        assert content["estimated_time"] <= int(answer.headers["Retry-After"]) < content["estimated_time"] + 1

        def shrinks() -> bool:
            return bool(server.post(BODY).json()["estimated_time"] < content["estimated_time"])

        eventually(shrinks, timeout=30)  # an estimate, not a constant
        go_on.set()


@pytest.mark.parametrize(
    ("headers", "extra"),
    [({"X-Wait-For-Model": "1"}, {}), ({}, {"options": {"wait_for_model": True, "use_cache": False}})],
    ids=["header", "options"],
)
def test_wait_for_model_holds_beyond_the_limit(
    hub_root: Path, start: Start, headers: dict[str, str], extra: dict[str, object]
) -> None:
    with stuck(hub_root, start, SLIPWAY_HOLD_SECONDS="0.1") as (server, go_on), ThreadPoolExecutor() as pool:
        held = pool.submit(server.post, BODY | extra, headers=headers)
        eventually(lambda: server.status()["inFlight"] == 1)
        assert server.post(BODY).status_code == 503  # without it: not held any longer
        go_on.set()
        assert held.result(timeout=120).status_code == 200


def test_too_many_held_requests_are_refused_at_once(hub_root: Path, start: Start) -> None:
    with stuck(hub_root, start, SLIPWAY_MAX_REQUESTS="2") as (server, go_on), ThreadPoolExecutor() as pool:
        held = [pool.submit(server.post, BODY) for _ in range(2)]
        eventually(lambda: server.status()["inFlight"] == 2)
        answer = server.post(BODY)
        assert answer.status_code == 429
        assert answer.json()["error_type"] == "overloaded"
        assert int(answer.headers["Retry-After"]) >= 1
        assert server.probe("livez") == 200
        go_on.set()
        assert [future.result(timeout=120).status_code for future in held] == [200, 200]


def test_a_held_request_whose_caller_goes_is_forgotten(hub_root: Path, start: Start) -> None:
    with stuck(hub_root, start) as (server, go_on):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url, json=BODY, timeout=0.5)
        eventually(lambda: server.status()["inFlight"] == 0)
        go_on.set()


def test_progress_shows_percent_of_the_bytes_and_time_left(hub_root: Path, start: Start) -> None:
    with running(hub_root) as (url, mirror):
        mirror.faults.bytes_per_second = 40e6
        with start(MINILM, HF_ENDPOINT=url) as server:

            def half_way() -> dict[str, float]:
                status: dict[str, float] = server.status()
                assert status["percent"] is not None, status
                assert 20 < status["percent"] < 95, status
                return status

            status = eventually(half_way, interval=0.01)
            assert status["estimatedSeconds"] > 0
            assert server.status()["stage"] == "Downloading"


def test_a_download_that_breaks_off_goes_on_where_it_was(hub_root: Path, start: Start) -> None:
    with running(hub_root) as (url, mirror):
        mirror.faults.drop_after = 30_000_000
        with start(MINILM, HF_ENDPOINT=url) as server:
            server.wait_for_stage("Ready")
            assert server.post({"inputs": "a"}).status_code == 200
        ranges = [seen.range for seen in mirror.requests if seen.path.endswith("model.safetensors") and seen.range]
        assert server.lines(), "every line is JSON, also while a download goes wrong"
        # huggingface_hub writes in steps of 10 MiB, so it goes on from the last whole step.
        assert ranges == [f"bytes={2 * 10 * 1024**2}-"]
