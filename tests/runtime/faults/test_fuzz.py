"""Mutated bodies against every format: no reply of 500 or more, every error in its format's shape, nothing grows.

`make faults-full` sends 100,000; the ordinary run draws 2,100 of the same kind from another seed each day.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.runtime.conftest import Serve
from tests.support import hostile, models
from tests.support.hostile import Hostile, Valid
from tests.support.memory import held
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation, vision

NAME = "fuzzed"
MOST_GROWTH = 64  # MB
_ALLOWED_CODES = range(200, 424)  # 424 is TGI's word for a forward that failed


def _oip(*texts: str, **parameters: object) -> dict[str, Any]:
    tensor = {"name": "inputs", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return {"id": "1", "inputs": [tensor], "parameters": parameters, "outputs": [{"name": "output"}]}


def _png() -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 30, 30)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


SORTER = [
    Valid("/", {"inputs": "a film", "parameters": {"top_k": 2, "function_to_apply": "softmax"}, "options": {}}),
    Valid("/", {"inputs": ["a film", "a good film"], "top_k": 1}),
    Valid("/", {"inputs": {"text": "a film", "text_pair": "a book"}, "parameters": {"truncate": True}}),
    Valid("/pipeline/text-classification", {"inputs": "a film", "parameters": {"truncation_direction": "left"}}),
    Valid(f"/v2/models/{NAME}/infer", _oip("a film", "a book", top_k=2)),
    Valid("/score", {"input_data": {"columns": ["text"], "index": [0, 1], "data": [["a"], ["b"]]}, "params": {}}),
    Valid("/score", {"input_data": ["a film", "b"], "params": {"top_k": 2}}),
    Valid("/invocations", {"inputs": "a film", "parameters": {}}),
    Valid("/invocations", {"input_data": {"input_string": ["a", "b"], "parameters": {"top_k": 1}}}),
    Valid("/tokenize", {"inputs": "a film", "add_special_tokens": True, "parameters": {}}),
]
_SAMPLING = {
    "max_new_tokens": 4, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "typical_p": 0.9, "repetition_penalty": 1.1,
    "frequency_penalty": 0.1, "presence_penalty": 0.1, "seed": 7, "stop": ["x"], "details": True, "top_n_tokens": 2,
    "decoder_input_details": True, "return_full_text": False, "truncate": 9, "logit_bias": {"5": 1.5},
    "do_sample": True,
}  # fmt: skip
_TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
_CHAT = {
    "model": NAME, "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a film"}],
    "max_tokens": 4, "temperature": 0.5, "top_p": 0.9, "n": 1, "stop": ["x"], "seed": 1, "logprobs": True,
    "top_logprobs": 2, "presence_penalty": 0.1, "frequency_penalty": 0.1, "logit_bias": {"3": 1},
}  # fmt: skip
WRITER = [
    Valid("/", {"inputs": "a film", "parameters": _SAMPLING}),
    Valid("/", {"inputs": ["a film", "a"], "parameters": {"max_new_tokens": 3, "n": 2, "do_sample": True}}),
    Valid("/generate", {"inputs": "a film", "parameters": {**_SAMPLING, "best_of": 2}}),
    Valid("/generate", {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "[a-c]+"}}}),
    Valid("/generate_stream", {"inputs": "a film", "parameters": {"max_new_tokens": 3, "details": True}}),
    Valid("/v1/chat/completions", _CHAT),
    Valid("/v1/chat/completions", {**_CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    Valid("/v1/chat/completions", {**_CHAT, "tools": [_TOOL], "tool_choice": "auto", "parallel_tool_calls": False}),
    Valid(
        "/v1/chat/completions",
        {
            **_CHAT,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        },
    ),
    Valid("/v1/completions", {"model": NAME, "prompt": ["a film", "b"], "max_tokens": 3, "echo": True, "logprobs": 2}),
    Valid("/v1/completions", {"model": NAME, "prompt": [5, 6, 7], "max_tokens": 3, "best_of": 2, "n": 1, "seed": 3}),
    Valid(f"/v2/models/{NAME}/infer", _oip("a film", max_new_tokens=3)),
    Valid("/score", {"input_data": {"input_string": _CHAT["messages"], "parameters": {"max_new_tokens": 3}}}),
    Valid("/invocations", {"messages": _CHAT["messages"], "max_tokens": 3}),
    Valid("/chat_tokenize", {"messages": _CHAT["messages"], "tools": [_TOOL]}),
    Valid("/tokenize", {"inputs": "a film"}),
]
SEER = [
    Valid("/", {"inputs": _png(), "parameters": {"top_k": 2, "function_to_apply": "sigmoid"}}),
    Valid("/", {"inputs": [f"data:image/png;base64,{_png()}"]}),
    Valid("/pipeline/image-classification", {"inputs": _png()}),
    Valid(f"/v2/models/{NAME}/infer", _oip(_png())),
    Valid("/score", {"input_data": {"columns": ["image"], "index": [0], "data": [[_png()]]}, "params": {"top_k": 1}}),
    Valid("/invocations", {"inputs": _png()}),
]


@pytest.fixture(scope="module")
def servers(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[RuntimeServer, list[Valid]]]]:
    folder = tmp_path_factory.mktemp("fuzz")
    common = {"SLIPWAY_ENDPOINT": NAME, "SLIPWAY_THREADS": "1", "SLIPWAY_MAX_NEW_TOKENS": "8"}
    with (
        serve(models.classifier(folder / "sorter"), **common) as sorter,
        serve(generation.chat_decoder(folder / "writer"), **common) as writer,
        serve(vision.vit(folder / "seer"), **common) as seer,
    ):
        yield [(sorter, SORTER), (writer, WRITER), (seer, SEER)]


@pytest.mark.parametrize(
    ("seed", "count"),
    [
        (20261121, 700),
        pytest.param(20261121, 33_334, marks=[pytest.mark.full, pytest.mark.timeout(3600)]),
    ],
    ids=["sample", "100000"],
)
def test_no_mutated_body_is_answered_with_500_or_out_of_shape(
    servers: list[tuple[RuntimeServer, list[Valid]]], seed: int, count: int
) -> None:
    """`count` for each of three servers: a classifier of texts, a chat, a classifier of images."""
    for server, valid in servers:
        for one in valid:
            status, *_ = send(server, Hostile(one.path, json.dumps(one.body).encode()))
            assert status == 200, one
        for request in hostile.requests(1, 200, valid):  # libraries grow once, at their first requests
            send(server, request)
    before = [held(server.process.pid) for server, _ in servers]
    with ThreadPoolExecutor(len(servers)) as pool:
        jobs = [pool.submit(fuzz, server, hostile.requests(seed, count, valid)) for server, valid in servers]
    for (server, valid), was, job in zip(servers, before, jobs, strict=True):
        wrong, codes = job.result()
        now = held(server.process.pid)
        grown = now.megabytes - was.megabytes
        print(
            f"{count} bodies, seed {seed}: {dict(sorted(codes.items()))}; {was.megabytes:.0f} MB and {grown:.1f} more"
        )
        assert wrong == [], f"{len(wrong)} of {count}, seed {seed}: " + "\n".join(wrong[:5])
        assert server.process.poll() is None
        assert (server.probe("livez"), server.probe("readyz")) == (200, 200)
        assert grown < MOST_GROWTH
        assert now.handles <= was.handles + 5
        assert now.threads <= was.threads + 2
        assert codes[200] > 0.02 * count  # what is valid after all is still answered
        assert sum(n for code, n in codes.items() if 400 <= code < 500) > 0.3 * count
        status, *_ = send(server, Hostile(valid[0].path, json.dumps(valid[0].body).encode()))
        assert status == 200


def fuzz(server: RuntimeServer, requests: Iterator[Hostile]) -> tuple[list[str], Counter[int]]:
    """What is wrong with the replies, and how many there were by status."""
    wrong: list[str] = []
    codes: Counter[int] = Counter()
    connection: http.client.HTTPConnection | None = None
    for request in requests:
        connection = connection or http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=120)
        try:
            status, kind, body = exchange(connection, request)
        except (http.client.HTTPException, OSError) as error:
            wrong.append(f"{type(error).__name__}: {error}: {request}")
            connection.close()
            connection = None
            continue
        codes[status] += 1
        try:
            check(request, status, kind, body)
        except (AssertionError, ValueError, KeyError, TypeError) as error:
            wrong.append(f"{status} {type(error).__name__} {error}: {body[:300]!r} to {str(request)[:600]}")
    if connection is not None:
        connection.close()
    return wrong, codes


def send(server: RuntimeServer, request: Hostile) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=120)
    try:
        return exchange(connection, request)
    finally:
        connection.close()


def exchange(connection: http.client.HTTPConnection, request: Hostile) -> tuple[int, str, bytes]:
    connection.putrequest("POST", request.path)
    for name, value in request.headers.items():
        connection.putheader(name, value.encode("latin-1"))
    connection.putheader("Content-Length", str(len(request.body)))
    connection.endheaders(request.body)
    response = connection.getresponse()
    return response.status, response.headers.get_content_type(), response.read()


def check(request: Hostile, status: int, kind: str, body: bytes) -> None:
    """Raises AssertionError or ValueError."""
    assert status in _ALLOWED_CODES or status in (429, 431)
    if kind == "text/event-stream":
        assert body.endswith(b"\n\n")
        for block in body.split(b"\n\n")[:-1]:
            data = block.removeprefix(b"data: ").removeprefix(b"data:")
            content = strict(data) if data != b"[DONE]" and not block.startswith(b":") else {}
            assert "error" not in content
        return
    assert kind == "application/json"
    content = strict(body)
    if status == 200:
        return
    first = request.path[1:].partition("/")[0].partition("?")[0]
    if first == "v1":
        assert content.keys() == {"error"}
        assert content["error"].keys() == {"message", "type", "param", "code"}
        message = content["error"]["message"]
    elif first == "v2":
        message = content["error"]
        assert content.keys() in ({"error"}, {"error", "error_type"})
    elif first == "score" and "code" in content["error"]:
        message = content["error"]["message"]
        assert content == {"error": {"code": content["error"]["code"], "message": message}, "message": message}
    else:
        message = content["error"]
        assert content.keys() == {"error", "error_type"}
    assert isinstance(message, str)
    assert 0 < len(message) < 4000
    assert "Traceback" not in message
    assert ".py" not in message


def strict(data: bytes) -> Any:
    """JSON without NaN, Infinity, doubled keys or wrong UTF-8."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in found}) == len(found)
        return dict(found)

    return json.loads(data.decode(), parse_constant=constant, object_pairs_hook=pairs)
