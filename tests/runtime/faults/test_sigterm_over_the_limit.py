"""SIGTERM and work that outlasts the drain, a second SIGTERM, and SIGTERM before there is a model."""

from __future__ import annotations

import functools
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.runtime.conftest import Start
from tests.support import breaking
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import eventually

LONG = 900  # tokens, of 20 ms each
TOLD = "the server is shutting down"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_decoder(tmp_path_factory.mktemp("model"))


@contextmanager
def started(folder: Path, model: Path, **variables: str) -> Iterator[RuntimeServer]:
    prepare = functools.partial(breaking.forwards, str(folder))
    with serving(folder, True, prepare, SLIPWAY_MODEL_PATH=str(model), **variables) as server:
        yield server


def streamed(server: RuntimeServer, path: str, body: dict[str, Any]) -> list[str]:
    """The data of all events; fails where the stream is cut off rather than ended."""
    with httpx.stream("POST", f"{server.url}{path}", json=body, timeout=60) as stream:
        assert stream.status_code == 200
        return [line.removeprefix("data:").strip() for line in stream.iter_lines() if line.startswith("data:")]


def chat_by_openai(server: RuntimeServer) -> openai.APIError:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0)
    with client, pytest.raises(openai.APIError) as caught:
        for _ in client.chat.completions.create(
            model="tgi",
            messages=[{"role": "user", "content": "the film"}],
            max_tokens=LONG,
            stream=True,
            logit_bias={"2": -100},
        ):
            pass
    return caught.value


def test_streams_that_outlast_the_drain_end_with_an_error_event_of_their_format(tmp_path: Path, model: Path) -> None:
    with (
        started(tmp_path, model, SLIPWAY_DRAIN_SECONDS="1", SLIPWAY_REQUEST_TIMEOUT_SECONDS="120") as server,
        ThreadPoolExecutor() as pool,
    ):
        server.wait_for_stage("Ready")
        (tmp_path / "slow").touch()
        long = {"inputs": "the film", "parameters": {"max_new_tokens": LONG, "min_new_tokens": LONG}}
        tgi = pool.submit(streamed, server, "/generate_stream", long)
        huggingface = pool.submit(streamed, server, "/", long | {"stream": True})
        completion = {"model": "tgi", "prompt": "the film", "max_tokens": LONG, "logit_bias": {"2": -100}}
        raw = pool.submit(streamed, server, "/v1/completions", completion | {"stream": True})
        client = pool.submit(chat_by_openai, server)
        whole = pool.submit(server.post, long)
        eventually(lambda: server.status()["inFlight"] == 5)
        assert server.terminate(30) == 0

        for stream in (tgi, huggingface):
            last = json.loads(stream.result(10)[-1])
            assert (last["error_type"], TOLD in last["error"]) == ("unavailable", True)
        *_, last_event = raw.result(10)  # no [DONE] after it: the answer is not whole
        assert TOLD in json.loads(last_event)["error"]["message"]
        assert TOLD in client.result(10).message
        assert whole.result(10).status_code == 503
        assert TOLD in whole.result().json()["error"]
        assert int(whole.result().headers["Retry-After"]) >= 1


def test_a_second_sigterm_ends_at_once_and_tells_those_in_flight(tmp_path: Path, model: Path) -> None:
    with (
        started(tmp_path, model, SLIPWAY_UNREADY_SECONDS="300", SLIPWAY_DRAIN_SECONDS="3600") as server,
        ThreadPoolExecutor() as pool,
    ):
        server.wait_for_stage("Ready")
        (tmp_path / "hang").touch()
        in_flight = pool.submit(server.post, {"inputs": "the film"})
        eventually(lambda: server.status()["inFlight"] == 1)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: server.status()["stage"] == "Draining")
        assert server.terminate(30) == 0
        assert in_flight.result(10).status_code == 503
        assert TOLD in in_flight.result().json()["error"]


def test_sigterm_while_weights_are_loaded_exits_0_at_once_and_tells_those_who_wait(tmp_path: Path, model: Path) -> None:
    (tmp_path / "load").touch()
    with started(tmp_path, model, SLIPWAY_UNREADY_SECONDS="300") as server, ThreadPoolExecutor() as pool:
        server.wait_for_stage("Loading")
        held = pool.submit(server.post, {"inputs": "the film"})
        eventually(lambda: server.status()["inFlight"] == 1)
        assert server.terminate(30) == 0
        assert held.result(10).status_code == 503


def test_sigterm_while_torch_is_imported_exits_0_at_once(start: Start) -> None:
    with start("tiny/classifier", SLIPWAY_UNREADY_SECONDS="300") as server:
        assert server.status()["stage"] in ("Starting", "Downloading", "Loading")
        assert server.terminate(60) == 0
        assert not any(line["message"] == "ready" for line in server.lines())
