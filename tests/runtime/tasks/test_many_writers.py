"""Many callers of one server that writes: each gets what it would get alone; the log says how answers are written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.runtime.conftest import Serve
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation
from tests.support.waiting import eventually

TEXTS = ("the film was great", "a cat", "the great cat of the film", "the")
SETTINGS: tuple[dict[str, Any], ...] = (
    {"max_new_tokens": 20},
    {"max_new_tokens": 12, "do_sample": True, "seed": 5, "temperature": 1.5},
    {"max_new_tokens": 30, "repetition_penalty": 1.4, "stop": ["cat"]},
)


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(generation.decoder(tmp_path_factory.mktemp("model") / "llama")) as running:
        yield running


def test_each_of_many_callers_gets_what_it_would_get_alone(server: RuntimeServer) -> None:
    def ask(request: tuple[str, dict[str, Any]]) -> Any:
        text, settings = request
        answer = server.post({"inputs": text, "parameters": {"details": True, **settings}}, "/generate")
        assert answer.status_code == 200
        details = answer.json()["details"]
        return [token["id"] for token in details["tokens"]], details["finish_reason"]

    requests = [(text, settings) for text in TEXTS for settings in SETTINGS]
    alone = [ask(request) for request in requests]
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, requests * 4)) == alone * 4


def test_the_log_says_how_answers_are_written(server: RuntimeServer) -> None:
    said = eventually(lambda: [line for line in server.lines() if "mode" in line])
    assert [(line["mode"], line["reason"]) for line in said] == [("continuous", "")]
