"""The log: what a line says, that overload does not flood it, and a reader who stops reading."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from slipway_runtime.serve.observe.access import REFUSALS_PER_SECOND

from tests.runtime.conftest import Serve, Start
from tests.support.runtime_server import RuntimeServer, free_ports
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import eventually

F_SETPIPE_SZ = 1031


def line_of(server: RuntimeServer, trace: str) -> dict[str, Any]:
    """The line of the request that had this trace."""
    return eventually(lambda: next((line for line in server.lines() if line.get("traceId") == trace), None))


def traced() -> tuple[str, dict[str, str]]:
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{'1' * 16}-01"}


def test_a_line_says_what_a_request_was_and_took(classifier: RuntimeServer) -> None:
    trace, headers = traced()
    answer = classifier.post({"inputs": ["a film", "a cat"]}, headers=headers)
    line = line_of(classifier, trace)
    assert line.keys() == {
        "time", "level", "logger", "message", "method", "route", "code", "seconds", "task", "dialect", "bytesIn",
        "bytesOut", "queueSeconds", "inputTokens", "traceId",
    }  # fmt: skip
    assert (line["message"], line["method"], line["route"], line["code"]) == ("request", "POST", "/", 200)
    assert (line["task"], line["dialect"]) == ("text-classification", "huggingface")
    assert line["bytesIn"] == len(answer.request.content)
    assert line["bytesOut"] == len(answer.content)
    assert 0 <= line["queueSeconds"] < line["seconds"]
    assert line["inputTokens"] > 2


def test_a_line_counts_the_tokens_that_were_written_also_in_a_stream(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = chat_decoder(tmp_path_factory.mktemp("models") / "writer")
    with serve(folder) as server:
        trace, headers = traced()
        body = {"inputs": "the film", "parameters": {"max_new_tokens": 9}}
        with httpx.stream("POST", f"{server.url}/generate_stream", json=body, headers=headers) as answer:
            events = [line for line in answer.iter_lines() if line.startswith("data:")]
        assert line_of(server, trace)["outputTokens"] == len(events)


def test_who_asked_is_told_apart_without_the_token(start: Start, tmp_path: Path) -> None:
    tokens = [secrets.token_urlsafe(24) for _ in range(2)]
    for i, token in enumerate(tokens):
        (tmp_path / f"token{i}").write_text(token)
    with start("tiny/classifier", True, SLIPWAY_API_TOKENS_DIR=str(tmp_path)) as server:
        server.wait_for_stage("Ready")
        callers = []
        for token in (*tokens, tokens[0]):
            trace, headers = traced()
            server.post({"inputs": "a film"}, headers={**headers, "Authorization": f"Bearer {token}"})
            callers.append(line_of(server, trace)["caller"])
        assert callers[0] == callers[2] != callers[1]
        assert not any(token in server.log.read_text() for token in tokens)


def test_a_flood_of_refusals_is_a_few_lines_and_a_count(start: Start) -> None:
    with start("tiny/classifier", True) as server:
        server.wait_for_stage("Ready")
        sent, began = 400, time.monotonic()
        with httpx.Client(base_url=server.url) as client:
            for _ in range(sent):
                assert client.post("/", json={"inputs": ""}).status_code == 422
            seconds = time.monotonic() - began
            assert client.post("/", json={"inputs": "a film"}).status_code == 200

        def told() -> tuple[int, int]:
            lines = [line for line in server.lines() if line.get("code") == 422]
            counts = [line["count"] for line in lines if line["message"] == "requests without a line of their own"]
            return len(lines) - len(counts), sum(counts)

        eventually(lambda: sum(told()) == sent)  # every one is either a line or counted
        own, counted = told()
        assert own <= REFUSALS_PER_SECOND * (seconds + 2)
        assert counted == sent - own
        eventually(lambda: any(line.get("code") == 200 for line in server.lines()))


@contextmanager
def unread(folder: Path, model: Path) -> Iterator[tuple[RuntimeServer, int]]:
    """A cold server whose stdout is a pipe that nobody reads, and the pipe's other end."""
    http_port, admin_port = free_ports(2)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    env = {
        "PATH": os.environ["PATH"],
        "SLIPWAY_HOST": "127.0.0.1",
        "SLIPWAY_HTTP_PORT": str(http_port),
        "SLIPWAY_ADMIN_PORT": str(admin_port),
        "SLIPWAY_MODEL_PATH": str(model),
        "SLIPWAY_CACHE_DIR": str(folder / "cache"),
        "SLIPWAY_TERMINATION_LOG": str(folder / "termination"),
        "SLIPWAY_UNREADY_SECONDS": "0",
    }
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "slipway_runtime", "serve"]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, env=env, stdout=writer, stderr=errors)
    os.close(writer)
    try:
        yield RuntimeServer(process, http_port, admin_port, folder / "stderr", 0.0), reader
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@pytest.mark.parametrize("end", ["read again", "never read", "closed"])
def test_a_log_that_nobody_reads_holds_up_neither_answers_nor_the_exit(tmp_path: Path, end: str) -> None:
    with unread(tmp_path, tmp_path / "nothing") as (server, reader):
        server.wait_for_port()
        with httpx.Client(base_url=server.url) as client:  # far more than a pipe of 4096 bytes takes
            assert {client.get("/health").status_code for _ in range(100)} == {503}
            assert {client.get("/info").status_code for _ in range(300)} == {200}
        read = bytearray()
        if end == "closed":
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, reader)
            os.close(null)
            assert httpx.get(f"{server.url}/info").status_code == 200
            eventually(lambda: server.metric("slipway_log_lines_dropped_total") > 0)
        elif end == "read again":
            threading.Thread(target=_read_all, args=(os.dup(reader), read), daemon=True).start()
            eventually(lambda: read.count(b'"/info"') == 300)  # they waited
            assert server.metric("slipway_log_lines_dropped_total") == 0
        assert server.terminate(20) == 0
        if end == "read again":
            eventually(lambda: b'"stopped"' in read)
            assert all(json.loads(line) for line in read.splitlines())


def _read_all(fd: int, into: bytearray) -> None:
    while chunk := os.read(fd, 65536):
        into += chunk
    os.close(fd)
