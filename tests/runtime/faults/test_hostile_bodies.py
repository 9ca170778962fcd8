"""Bodies made to hurt: bombs, nesting, doubled keys, odd numbers and texts. Each is a typed error, or is answered."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.conftest import Serve
from tests.support import models, raw_http
from tests.support.memory import peak_megabytes
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation, text

BOMB_GIGABYTES = 10
MOST_GROWTH = 64  # MB


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("hostile") / "model"), SLIPWAY_ENDPOINT="m") as server:
        yield server


@pytest.fixture(scope="module")
def writer(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = generation.chat_decoder(tmp_path_factory.mktemp("hostile") / "writer")
    with serve(folder, SLIPWAY_ENDPOINT="m", SLIPWAY_MAX_NEW_TOKENS="8") as server:
        yield server


@pytest.fixture(scope="module")
def judge(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(text.nli(tmp_path_factory.mktemp("hostile") / "judge"), SLIPWAY_ENDPOINT="m") as server:
        yield server


def refused(server: RuntimeServer, body: bytes | object, path: str = "/", status: int = 422) -> str:
    """The error's sentence, in the shape of the path's format."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(server.url + path, content=content, headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code == (400 if status == 422 and path.startswith("/v1/") else status), answer.text[:300]
    error = answer.json()["error"]
    sentence: str = error if isinstance(error, str) else error["message"]
    assert len(sentence) < 1000
    return sentence


# Compressed bodies: refused unopened


def bomb() -> bytes:
    """Gzip of 10 GB of zeros in about 10 kB: gzip of gzip, as the outer of two encodings has it."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    inner = b"".join([*(squeeze.compress(bytes(1 << 24)) for _ in range(16)), squeeze.flush()])  # 256 MB
    return gzip.compress(inner * 4 * BOMB_GIGABYTES, 9)


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "x-gzip", "gzip, identity"]
)
def test_a_bomb_is_refused_unopened_whatever_its_encoding(server: RuntimeServer, encoding: str) -> None:
    content = bomb() if encoding == "gzip, gzip" else gzip.compress(bytes(1 << 20))
    assert len(content) < 200_000

    def act() -> None:
        for path, status in (("/", 415), ("/v1/embeddings", 415), ("/v2/models/m/infer", 415), ("/score", 415)):
            answer = httpx.post(server.url + path, content=content, headers={"Content-Encoding": encoding}, timeout=60)
            assert answer.status_code == status
            assert "compressed" in answer.text

    assert peak_megabytes(act, server.process.pid) < MOST_GROWTH


def test_a_bomb_that_does_not_say_so_is_no_json(server: RuntimeServer) -> None:
    assert "not valid JSON" in refused(server, bomb())


def test_identity_and_an_empty_encoding_are_none(server: RuntimeServer) -> None:
    for value in ("identity", "Identity", " ", ""):
        reply = raw_http.ask(server.http_port, raw_http.post("/", {"inputs": "a film"}, f"Content-Encoding: {value}"))
        assert reply is not None
        assert reply.status == 200


# Structure


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
@pytest.mark.parametrize("depth", [65, 500, 1000, 100_000])
def test_what_is_nested_deeply_is_refused(server: RuntimeServer, opening: bytes, closing: bytes, depth: int) -> None:
    body = b'{"inputs": ' + opening * depth + b"1" + closing * depth + b"}"
    sentence = refused(server, body)
    assert "nested deeper than 64 levels" in sentence or "not valid JSON" in sentence
    refused(server, body, "/v1/chat/completions")
    refused(server, body, "/v2/models/m/infer")
    refused(server, body, "/score")


def test_a_million_brackets_are_refused(server: RuntimeServer) -> None:
    assert "more than 100000 lists and objects" in refused(server, b'{"inputs": [' + b"[]," * 600_000 + b"[]]}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": "a", "inputs": "b"}',
        b'{"inputs": "a" , "parameters": {"top_k": 1, "top_k" :2}}',
        b'{"inputs": "a", "parameters": {"top_k": 1, "top_k"\t\n:\n2}}',
        b'{"inputs": "a", "\\u0069nputs": "b"}',
        b'{"inputs": "one: two, \\"three\\": 4", "parameters": {"top_k": 1, "top_k": 1}}',
        b'{"inputs": "a\\\\", "parameters": {}, "parameters": {"top_k": 1}}',
        b'{"x:": 1, "inputs": ":", "inputs": "\\\\\\":"}',
        b'{"inputs": "a", "options": {"a": {"b": [{"c": 1, "c": 2}]}}}',
    ],
)
def test_a_key_that_stands_twice_is_refused(server: RuntimeServer, body: bytes) -> None:
    assert "twice in one object" in refused(server, body)


def test_colons_quotes_and_json_in_texts_are_no_keys(server: RuntimeServer) -> None:
    for words in (
        ":",
        '":',
        '"a": 1',
        '{"a": 1, "a": 2}',
        "\\",
        '\\":',
        "a" * 9 + '\\\\":"',
        "http://x?a:b",
        "「」：",
        '"":',
    ):
        assert server.post({"inputs": words}).status_code == 200, words


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=json_values, indent=st.sampled_from([None, 1]), plain=st.booleans())
def test_json_that_is_written_properly_is_read_as_it_was_meant(value: Any, indent: int | None, plain: bool) -> None:
    from slipway_runtime.serve.dialects.strict_json import strict_json

    content = json.dumps(value, indent=indent, ensure_ascii=plain)
    try:
        encoded = content.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which UTF-8 cannot write
    if json.loads(encoded) == value and "\\ud" not in content:
        assert strict_json(encoded) == value


@settings(max_examples=300, deadline=None)
@given(
    key=st.text(),
    value=st.text(),
    rest=st.dictionaries(st.text(), st.text(), max_size=3),
    space=st.sampled_from(["", " ", "\n\t"]),
)
def test_any_doubled_key_is_seen(key: str, value: str, rest: dict[str, str], space: str) -> None:
    from slipway_runtime.errors import InvalidInput
    from slipway_runtime.serve.dialects.strict_json import strict_json

    pairs = [(key, value), *rest.items(), (key, "again")]
    members = ",".join(f"{json.dumps(name)}{space}:{json.dumps(text)}" for name, text in pairs)
    if "\\ud" in members:
        return
    with pytest.raises(InvalidInput, match="twice"):
        strict_json(f'{{"outer": [{{{members}}}]}}'.encode())


# Numbers


@pytest.mark.parametrize(
    "number",
    [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e400", b"01", b"+1", b"1.", b".5", b"0x10", b"1_000", b"nan"],
)
def test_numbers_that_are_none_are_refused(server: RuntimeServer, number: bytes) -> None:
    assert "not valid JSON" in refused(server, b'{"inputs": "a", "parameters": {"top_k": %b}}' % number)
    refused(server, b'{"model": "m", "input": "a", "dimensions": %b}' % number, "/v1/embeddings")


@pytest.mark.parametrize(
    "number", [2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400, -(2**63), -(2**64), 1e308, 5e-324, -0.0]
)
@pytest.mark.parametrize(
    "name",
    [
        "max_new_tokens",
        "top_k",
        "seed",
        "truncate",
        "temperature",
        "repetition_penalty",
        "n",
        "best_of",
        "top_n_tokens",
        "min_new_tokens",
    ],
)
def test_huge_and_tiny_numbers_are_answered_or_refused(writer: RuntimeServer, name: str, number: float) -> None:
    answer = writer.post({"inputs": "a film", "parameters": {"max_new_tokens": 2, name: number}})
    assert answer.status_code in (200, 422), answer.text[:300]
    json.loads(answer.content, parse_constant=pytest.fail)


# Texts


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"inputs": "\\ud800"}', "not valid JSON"),
        (b'{"inputs": "\\udc00\\ud800"}', "not valid JSON"),
        (b'{"inputs": "\xed\xa0\x80"}', "not valid JSON"),
        (b'{"inputs": "\xff"}', "not valid JSON"),
        (b'{"inputs": "\xc0\xaf"}', "not valid JSON"),
        (b'{"inputs": "\xf5\x80\x80\x80"}', "not valid JSON"),
        (b'{"inputs": "a\x00b"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"inputs": "a"}', "not valid JSON"),
        ('{"inputs": "a"}'.encode("utf-16"), "not valid JSON"),
        ('{"inputs": "a"}'.encode("utf-16-be"), "not valid JSON"),
        ('{"inputs": "a"}'.encode("utf-32"), "not valid JSON"),
        (b"\x00" * 100, "not valid JSON"),
        (b'{"inputs": "a"}{"inputs": "b"}', "not valid JSON"),
        (b'{"inputs": "a"', "not valid JSON"),
        (b" " * 10_000, "is empty"),
    ],
)
def test_what_is_no_utf_8_or_no_json_is_refused_in_every_format(
    server: RuntimeServer, content: bytes, sentence: str
) -> None:
    for path in ("/", "/generate", "/v1/chat/completions", "/v2/models/m/infer", "/score", "/tokenize", "/invocations"):
        assert sentence in refused(server, content, path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.text(min_size=1, max_size=200))
@pytest.mark.parametrize("plain", [True, False])
def test_any_text_comes_back_as_it_was_sent_or_is_refused(server: RuntimeServer, plain: bool, words: str) -> None:
    content = json.dumps(
        {"id": words, "inputs": [{"name": "inputs", "shape": [1], "datatype": "BYTES", "data": [words]}]},
        ensure_ascii=plain,
    )
    try:
        body = content.encode()
    except UnicodeEncodeError:
        return
    answer = httpx.post(f"{server.url}/v2/models/m/infer", content=body, timeout=60)
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.json()["id"] == words


# Headers and paths


@pytest.mark.parametrize(
    "header",
    ["Content-Type: \xff\xfe", "Content-Type: application/json; charset=\x80", "Accept: \xe9\xe9",
     "User-Agent: hf_hub/\xb2.\xb3",
     "X-Wait-For-Model: \xff", "Authorization: Bearer \xff", "traceparent: \xff", "Content-Type: " + "a/" * 5000],
    ids=lambda header: header[:20].encode("ascii", "replace").decode(),
)  # fmt: skip
def test_header_values_of_any_bytes_are_answered_or_refused(server: RuntimeServer, header: str) -> None:
    for path in ("/", "/v1/embeddings", "/v2/models/m/infer", "/score"):
        reply = raw_http.ask(server.http_port, raw_http.post(path, {"inputs": "a film"}, header))
        assert reply is not None
        assert reply.status in (200, 400, 415, 422)
        reply.json()


@pytest.mark.parametrize(
    "name",
    [
        "%00",
        "%0d%0aSet-Cookie:%20a=b",
        "%ff%fe",
        "..%2f..%2fetc%2fpasswd",
        "%e2%80%ae",
        "a" * 4000,
        "%22%3e",
        "%25%30%30",
    ],
)
def test_path_parameters_of_any_characters_are_404_and_never_become_headers(server: RuntimeServer, name: str) -> None:
    body = {"inputs": "a", "model": "m"}
    for path in (
        f"/models/{name}",
        f"/pipeline/{name}",
        f"/v2/models/{name}/infer",
        f"/pipeline/{name}/{name}",
        f"/{name}",
    ):
        reply = raw_http.ask(server.http_port, raw_http.post(path, body))
        assert reply is not None
        assert reply.status in (404, 405, 422), (path, reply)
        assert "set-cookie" not in reply.headers
        assert len(reply.body) < 6000
        reply.json()
    for path in (f"/v1/models/{name}", f"/v2/models/{name}", f"/v2/models/{name}/ready", f"/page/{name}"):
        reply = raw_http.ask(server.http_port, raw_http.get(path))
        assert reply is not None
        assert reply.status == 404, path
        reply.json()


# Bounds of what is in a body


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "inputs", "shape": [1], "datatype": "BYTES", "data": ["a"]} | changes


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/", {"inputs": ["a"] * 257}, "at most 256 are allowed"),
        ("/v2/models/m/infer", {"inputs": [tensor(shape=[10**18] * 50_000)]}, "at most 8 are read"),
        ("/v2/models/m/infer", {"inputs": [tensor(name=f"t{i}") for i in range(10_000)]}, "at most 64 are read"),
        ("/v2/models/m/infer", {"inputs": [tensor()], "outputs": [{"name": "output"}] * 2}, "each output once"),
        ("/v2/models/m/infer", {"inputs": [tensor(shape=[257], data=["a"] * 257)]}, "has 257 rows, at most 256"),
        ("/score", {"input_data": {"columns": ["image"], "data": [["a"]] * 50_000}}, "has 50000 rows, at most 256"),
        ("/score", {"input_data": ["a"] * 50_000}, "has 50000 rows, at most 256"),
        ("/score", {"input_data": [["a", "b"]]}, "is a list of 2; a row is one input of the task"),
        ("/v1/embeddings", {"input": ["a"] * 2049}, "at most 2048 are allowed"),
        ("/", {"inputs": "a", "parameters": {"x" * 1_000_000: 1}}, "unknown parameter"),
        ("/", {"inputs": "a", "parameters": {"function_to_apply": "x" * 1_000_000}}, "Invalid enum value"),
        ("/generate", {"x" * 1_000_000: "a"}, "unknown field"),
        ("/tokenize", {"inputs": "a " * 140_000}, "at most 131072 are listed"),
        ("/pipeline/" + "x" * 3000, {"inputs": "a"}, "is not served here"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_more_than_is_allowed_is_refused_at_once(server: RuntimeServer, path: str, body: Any, sentence: str) -> None:
    assert sentence in refused(server, body, path, 404 if "x" * 3000 in path else 422)


def tool(i: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"t{i}", "parameters": {}}}


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "a"}]} | changes


CALL = {"id": "1", "type": "function", "function": {"name": "t", "arguments": "{}"}}
DEEP = "[" * 50_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"messages": [{"role": "user", "content": "a"}] * 257}, "messages: has 257 entries, at most 256"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 1025}]}, "at most 1024"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL] * 129}]}, "at most 128 are allowed"),
        ({"tools": [tool(i) for i in range(129)]}, "tools: has 129 entries, at most 128"),
        ({"n": 17}, "n: Expected int <= 16"),
        ({"stop": ["a"] * 17}, "stop: Expected array of length <= 16"),
        ({"stop": "a" * 501}, "stop"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias: Expected object of length <= 1024"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"10000000": 1}}, "is no token id"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs: Expected int <= 20"),
        ({"max_tokens": 9}, "max_tokens: is 9, at most 8 are allowed"),
        ({"seed": 2**63}, "seed"),
        ({"response_format": {"type": "regex", "value": "a" * 8193}}, "at most 8192 are compiled"),
        ({"response_format": {"type": "json_object", "value": {"enum": ["a" * 99] * 700}}}, "at most 65536"),
        ({"response_format": {"type": "json_object", "value": {"type": "string", "pattern": "a?" * 4500}}}, "pattern"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_more_than_is_allowed_of_a_chat_is_refused(writer: RuntimeServer, changes: Any, sentence: str) -> None:
    assert sentence in refused(writer, chat(**changes), "/v1/chat/completions")


@pytest.mark.parametrize("value", [DEEP, "{", '{"type": NaN}', "1", {"$ref": "#"}, {"type": "x"}])
def test_a_schema_that_is_none_is_refused_also_where_it_is_written_as_a_string(
    writer: RuntimeServer, value: Any
) -> None:
    body = {"inputs": "a", "parameters": {"max_new_tokens": 2, "grammar": {"type": "json", "value": value}}}
    answer = writer.post(body, "/generate")
    assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")


def test_arguments_of_calls_that_are_nested_deeply_are_refused(writer: RuntimeServer) -> None:
    call = {**CALL, "function": {"name": "t", "arguments": DEEP}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]
    assert "arguments: is no JSON object" in refused(writer, chat(messages=messages), "/v1/chat/completions")


def test_labels_and_their_template_are_bounded(judge: RuntimeServer) -> None:
    path = "/pipeline/zero-shot-classification"
    many = {"inputs": "a", "parameters": {"candidate_labels": [str(i) for i in range(257)]}}
    assert "has 257 labels, at most 256" in refused(judge, many, path)
    long = {"inputs": "a", "parameters": {"candidate_labels": ["a", "b"], "hypothesis_template": "x" * 2001 + "{}"}}
    assert "at most 2000 are allowed" in refused(judge, long, path)
    texts = {"inputs": ["a"] * 200, "parameters": {"candidate_labels": ["a", "b"]}}
    refused(judge, texts, path)


def test_cells_of_a_table_are_bounded() -> None:
    from slipway_runtime.errors import InvalidInput
    from slipway_runtime.tasks.text.tables import MAX_CELLS, table_of

    with pytest.raises(InvalidInput, match=f"has {MAX_CELLS + 1} cells, at most {MAX_CELLS}"):
        table_of({"a": ["x"] * (MAX_CELLS + 1)}, "inputs.table")


def test_the_server_still_answers_and_no_request_failed_unforeseen(
    server: RuntimeServer, writer: RuntimeServer, judge: RuntimeServer
) -> None:
    for each in (server, writer, judge):
        assert each.probe("livez") == each.probe("readyz") == 200
        assert not [line for line in each.lines() if "exception" in line]
