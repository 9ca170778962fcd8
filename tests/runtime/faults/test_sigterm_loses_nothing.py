"""SIGTERM while callers of every sort are at it: each request is answered whole, or its connection was refused."""

from __future__ import annotations

import errno
import functools
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from tests.support import breaking
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import eventually

UNREADY_SECONDS = 0.7
BODY = {"inputs": "the film", "parameters": {"max_new_tokens": 8, "min_new_tokens": 8}}
CHAT = {"model": "tgi", "messages": [{"role": "user", "content": "the film"}], "max_tokens": 8}
CONTEXT = httpx.create_ssl_context(verify=False)  # made once: it costs more than a request

Ask = Callable[[], str]


@contextmanager
def ready(folder: Path, model: Path, **variables: str) -> Iterator[RuntimeServer]:
    prepare = functools.partial(breaking.forwards, str(folder))
    with serving(folder, True, prepare, SLIPWAY_MODEL_PATH=str(model), **variables) as server:
        server.wait_for_stage("Ready")
        yield server


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_decoder(tmp_path_factory.mktemp("model"))


def kept(url: str, pause: float) -> Iterator[Ask]:
    """One connection for many requests, which the caller opens anew where the server says so."""
    with httpx.Client(verify=CONTEXT, timeout=60) as client:

        def ask() -> str:
            time.sleep(pause)
            answer = client.post(url, json=BODY)
            assert answer.json()[0]["generated_text"]
            return str(answer.status_code)

        yield ask


def new(url: str) -> Iterator[Ask]:
    """A connection per request."""

    def ask() -> str:
        with httpx.Client(verify=CONTEXT, timeout=60) as client:
            return str(client.post(url, json=BODY).status_code)

    yield ask


def streaming(url: str) -> Iterator[Ask]:
    """Events to the last one, by OpenAI's client, which must not try again by itself."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0, timeout=60) as client:

        def ask() -> str:
            chunks = list(client.chat.completions.create(**CHAT, stream=True))  # type: ignore[call-overload]
            assert chunks[-1].choices[0].finish_reason in ("length", "stop")
            return "200"

        yield ask


def slow_to_ask(port: int) -> Iterator[Ask]:
    """The connection first, the request a while later, as from a proxy that connects ahead."""
    request = b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 22\r\n\r\n{"inputs": "the film"}'
    assert request.endswith(b'\r\n\r\n{"inputs": "the film"}')

    def ask() -> str:
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            time.sleep(0.2)
            connection.sendall(request)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
                if b"}]" in answer:
                    break
            assert b"generated_text" in answer, answer
            return answer.split()[1].decode()

    yield ask


def refused(error: BaseException | None) -> bool:
    """Whether the connection was never made."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return True
        if isinstance(error, ExceptionGroup):
            return all(refused(one) for one in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


def until_refused(asks: Iterator[Ask], answered: Counter[str], over: threading.Event) -> str:
    """Ask again and again; returns how it ended."""
    ask = next(asks)
    while not over.is_set():
        try:
            answered[ask()] += 1
        except Exception as error:
            if refused(error):
                return "refused"
            raise
    return "never refused"


def one_sigterm(folder: Path, model: Path, workers: int = 1) -> None:
    variables = {"SLIPWAY_UNREADY_SECONDS": str(UNREADY_SECONDS), "SLIPWAY_DRAIN_SECONDS": "120"}
    variables["SLIPWAY_WORKERS"] = str(workers)
    answered: Counter[str] = Counter()
    over = threading.Event()
    with ready(folder, model, **variables) as server, ThreadPoolExecutor(16) as pool:
        sorts = [
            *[kept(server.url, pause) for pause in (0.0, 0.01, 0.1, 0.3, 0.5)],
            *[new(server.url) for _ in range(3)],
            *[streaming(server.url) for _ in range(3)],
            *[slow_to_ask(server.http_port) for _ in range(3)],
        ]
        ends: list[Future[str]] = [pool.submit(until_refused, asks, answered, over) for asks in sorts]
        try:
            eventually(lambda: answered.total() > 2 * len(sorts), timeout=60)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: server.probe("readyz") == 503)
            before = answered.total()
            assert server.process.wait(150) == 0
            assert [end.result(60) for end in ends] == ["refused"] * len(sorts)
        finally:
            over.set()
        assert answered.total() > before, "answered while unready, too"
        assert set(answered) == {"200"}
        codes = Counter(line["code"] for line in server.lines() if line["message"] == "request")
        assert set(codes) == {200}


def test_sigterm_under_load_loses_no_accepted_request(tmp_path: Path, model: Path) -> None:
    one_sigterm(tmp_path, model)


def test_sigterm_under_load_loses_no_accepted_request_of_two_workers(tmp_path: Path, model: Path) -> None:
    one_sigterm(tmp_path, model, workers=2)


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_no_accepted_request_twenty_times(tmp_path: Path, model: Path, workers: int) -> None:
    for round_ in range(20):
        one_sigterm(tmp_path / str(round_), model, workers)


def test_a_request_on_a_connection_that_was_idle_for_long_is_answered_while_others_are_finished(
    tmp_path: Path, model: Path
) -> None:
    with (
        ready(tmp_path, model, SLIPWAY_UNREADY_SECONDS="0", SLIPWAY_DRAIN_SECONDS="120") as server,
        ThreadPoolExecutor() as pool,
        httpx.Client(verify=CONTEXT, timeout=60) as client,
    ):
        assert client.post(server.url, json=BODY).status_code == 200  # and then nothing more on it
        (tmp_path / "hang").touch()
        in_flight = pool.submit(server.post, BODY)
        eventually(lambda: server.status()["inFlight"] == 1)
        server.process.send_signal(signal.SIGTERM)

        def nobody_gets_in() -> bool:
            with socket.socket() as fresh:
                fresh.settimeout(5)
                return fresh.connect_ex(("127.0.0.1", server.http_port)) == errno.ECONNREFUSED

        eventually(nobody_gets_in)
        late = pool.submit(client.post, server.url, json=BODY)
        eventually(lambda: server.status()["inFlight"] == 2)
        (tmp_path / "hang").unlink()
        assert in_flight.result(60).status_code == late.result(60).status_code == 200
        assert late.result().headers["connection"] == "close"
        assert server.process.wait(60) == 0
