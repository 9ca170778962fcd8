"""A forward that does not come back: unready, then not live; ready again when it does come back."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support import breaking, models
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import consistently, eventually

BODY = {"inputs": "the film was great"}
LIMIT = 2.0  # seconds


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    folder = tmp_path / "switches"
    folder.mkdir()
    return folder


@pytest.fixture
def classifier(tmp_path: Path, switches: Path) -> Iterator[RuntimeServer]:
    model = models.classifier(tmp_path / "model", labels=["bad", "good"])
    with serving(
        tmp_path,
        True,
        functools.partial(breaking.forwards, str(switches)),
        SLIPWAY_MODEL_PATH=str(model),
        SLIPWAY_FORWARD_TIMEOUT_SECONDS=str(LIMIT),
    ) as server:
        server.wait_for_stage("Ready")
        yield server


def test_a_hung_forward_makes_the_pod_unready_then_not_live_and_both_again_when_it_comes_back(
    classifier: RuntimeServer, switches: Path
) -> None:
    (switches / "hang").touch()
    with ThreadPoolExecutor() as pool:
        hung = pool.submit(classifier.post, BODY)
        eventually(lambda: classifier.status()["inFlight"] == 1)
        waiting = pool.submit(classifier.post, BODY)
        probed: list[tuple[int, int]] = []

        def not_live() -> bool:
            probed.append((classifier.probe("readyz"), classifier.probe("livez")))
            return probed[-1] == (503, 503)

        eventually(not_live)
        assert (503, 200) in probed, "unready first"
        assert (200, 503) not in probed

        queued = waiting.result(30)  # it waited behind the hung one
        fresh = classifier.post(BODY)
        for answer in (queued, fresh):
            assert answer.status_code == 503
            assert answer.json()["error_type"] == "unavailable"
            assert f"a forward has been running for more than {LIMIT:g} s" in answer.json()["error"]
            assert int(answer.headers["Retry-After"]) >= 1
        assert fresh.elapsed.total_seconds() < LIMIT, "told at once"
        status = classifier.status()
        assert (status["stage"], status["error"]["reason"], status["error"]["code"]) == ("Failed", "ForwardFailed", 1)
        assert not hung.done(), "it may come back still"

        (switches / "hang").unlink()
        assert hung.result(30).status_code == 200
    eventually(lambda: classifier.probe("readyz") == 200)
    assert classifier.probe("livez") == 200
    assert classifier.status()["error"] is None
    assert classifier.post(BODY).status_code == 200

    def each_said_once() -> bool:
        said = [line["message"] for line in classifier.lines()]
        return said.count("unready") == said.count("forwards work again") == 1

    eventually(each_said_once)


def test_forwards_that_are_slow_but_come_back_never_make_it_unready(classifier: RuntimeServer, switches: Path) -> None:
    (switches / "slow").touch()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(classifier.post, BODY) for _ in range(16)]
        consistently(lambda: classifier.probe("readyz") == classifier.probe("livez") == 200, duration=2 * LIMIT)
        assert {answer.result(60).status_code for answer in answers} == {200}


def test_text_may_take_longer_than_a_step_a_hang_in_it_is_noticed_and_the_stream_goes_on_after_it(
    tmp_path: Path, switches: Path
) -> None:
    model = chat_decoder(tmp_path / "model")
    with serving(
        tmp_path,
        True,
        functools.partial(breaking.forwards, str(switches)),
        SLIPWAY_MODEL_PATH=str(model),
        SLIPWAY_FORWARD_TIMEOUT_SECONDS=str(LIMIT),
    ) as server:
        server.wait_for_stage("Ready")
        (switches / "slow").touch()
        tokens = round(2 * LIMIT / breaking.SLOW_SECONDS)
        body = {"inputs": "the film", "parameters": {"max_new_tokens": tokens, "min_new_tokens": tokens}}
        with httpx.stream("POST", f"{server.url}/generate_stream", json=body, timeout=60) as stream:
            events = (line for line in stream.iter_lines() if line.startswith("data:"))
            for _ in range(tokens - 10):
                next(events)
            assert [line for line in server.lines() if line["message"] == "unready"] == []
            (switches / "hang").touch()
            eventually(lambda: server.probe("readyz") == 503)
            assert server.post(body).status_code == 503
            (switches / "hang").unlink()
            assert f'"index":{tokens},' in list(events)[-1]
        eventually(lambda: server.probe("readyz") == 200)
