"""Hostile requests, drawn from a seed: valid bodies with something wrong in them, in their structure or their bytes."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hostile:
    """One request: POST."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Valid:
    """What is mutated: a body that the route answers with 200."""

    path: str
    body: Any


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for i in range(depth):
        value = [value] if i % 2 else {"a": value}
    return value


VALUES: Sequence[Any] = (
    None, True, False, 0, -1, 1, 2, 7, 255, 256, 257, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63,
    -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**30, 0.0, -0.0, 0.1, 1.5, -1e-320, 5e-324, 1e-300, 1e300, -1e308,
    1.7976931348623157e308, "", " ", "\n", "a", "\u0000", "a\u0000b", "\u202eright to left",
    "𝔘🐈‍⬛", "e\u0301" * 30,
    "\ufeff", "\uffff", "\u2028", "x" * 3000, "word " * 400, "{}", "[]", "null", "NaN", "-1", "{{7*7}}", "{% raise %}",
    "%s%n",
    "../../etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest", "data:image/png;base64,AAAA",
    "data:,", "AAAA", "iVBORw0KGgo=", "====", "<|im_end|>", "</s>", "[MASK]", "(a+)+$", "[[[", [], {}, [[]], [{}],
    {"": ""}, {"a": 1}, {"__proto__": {}}, {"type": "x"}, {"role": "user", "content": "a"}, [None], [1, "a", None],
    ["a"] * 300, [["a", "b"]], [[1.5] * 4] * 3, list(range(600)), {str(i): i for i in range(300)}, _nested(20),
    _nested(62), _nested(70), _nested(150), ["a", ["b", ["c"]]], {"inputs": {"inputs": "a"}}, "auto", "required",
    {"type": "json", "value": {"type": "object"}}, {"type": "regex", "value": "("}, {"text": "a", "text_pair": "b"},
)  # fmt: skip
NAMES = ("inputs", "parameters", "options", "stream", "model", "n", "stop", "seed", "tools", "grammar", "logit_bias",
         "top_k", "temperature", "truncate", "messages", "data", "", "\u0000", "x" * 500, "__class__", "id", "shape",
         "max_tokens", "best_of", "details", "adapter_id", "response_format", "repetition_penalty")  # fmt: skip
_TYPES = ("application/json", "application/json; charset=utf-16", "text/plain", "", "multipart/form-data",
          "multipart/form-data; boundary=x", "application/xml", "image/png", "audio/wav", "application/octet-stream",
          "a/b+json", "\xff", "application/json, text/html", ";;;", "x" * 2000)  # fmt: skip
_HEADERS = (("Accept", "image/x;q=nan,*/*;q=-1"), ("Accept", "\xe9" * 100), ("User-Agent", "hf_hub/99999999999.9"),
            ("User-Agent", "hf_hub/0.0"), ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip, gzip, br"),
            ("Content-Encoding", "identity"), ("X-Wait-For-Model", "1"), ("Inference-Header-Content-Length", "-1"),
            ("Accept-Encoding", "br;q=1e999"), ("traceparent", "00-zz-\xff-01"),
            ("traceparent", "00-" + "0" * 32 + "-0-0"),
            ("X-Amzn-SageMaker-Custom-Attributes", "\x80"), ("Cookie", "a=b; " * 200), ("Expect", "100-continue"),
            ("X-Request-Id", "a" * 5000), ("Range", "bytes=" + "0-," * 500), ("Connection", "close"),
            ("X-Forwarded-For", "1.2.3.4, " * 50))  # fmt: skip


def requests(seed: int, count: int, valid: Sequence[Valid]) -> Iterator[Hostile]:
    """`count` requests; the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311 - it is to be the same for the same seed
    for _ in range(count):
        chosen = draw.choice(valid)
        body = copy.deepcopy(chosen.body)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
            body = _mutated(body, draw)
        content = json.dumps(body, ensure_ascii=draw.random() < 0.5).encode(errors="replace")
        if draw.random() < 0.3:
            content = _damaged(content, draw)
        headers = {"Content-Type": draw.choice(_TYPES) if draw.random() < 0.1 else "application/json"}
        if draw.random() < 0.15:
            name, value = draw.choice(_HEADERS)
            headers[name] = value
        path = chosen.path
        if draw.random() < 0.02:
            path = draw.choice((path + "/", path + "%00", path + "?a=%ff&b", path + "/\u00e9".encode().hex(), path * 3))
        yield Hostile(path, content, headers)


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*at, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 20)):
            yield from _places(value[i], (*at, i))


def _mutated(body: Any, draw: random.Random) -> Any:
    *above, last = [(), *[place for place in _places(body) if place]] if body else [()]
    place = draw.choice([*above, last])
    value = copy.deepcopy(draw.choice(VALUES))
    if not place:
        if isinstance(body, dict) and draw.random() < 0.9:
            body[draw.choice(NAMES)] = value
            return body
        return value
    parent = body
    for step in place[:-1]:
        parent = parent[step]
    match draw.randrange(5):
        case 0:
            del parent[place[-1]]
        case 1 if isinstance(parent[place[-1]], dict):
            parent[place[-1]][draw.choice(NAMES)] = value
        case 2 if isinstance(parent[place[-1]], list):
            parent[place[-1]] = parent[place[-1]] * draw.choice((0, 2, 40))
        case 3:
            parent[place[-1]] = draw.choice(([parent[place[-1]]], {"a": parent[place[-1]]}))
        case _:
            parent[place[-1]] = value
    return body


def _damaged(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    match draw.randrange(12):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
        case 2:
            return content[:at] + draw.randbytes(draw.randrange(1, 30)) + content[at:]
        case 3:
            return b"\xef\xbb\xbf" + content
        case 4:
            return content.decode().encode(draw.choice(("utf-16", "utf-16-le", "utf-32")))
        case 5:
            return content.replace(b"1", draw.choice((b"NaN", b"Infinity", b"-Infinity", b"1e999", b"01", b"0x1")), 1)
        case 6:
            return (
                content[:1] + draw.choice((b'"a":1,"a":2,', b'"inputs":"b",', b'"model":null,"model":1,')) + content[1:]
            )
        case 7:
            return content.replace(b'"', draw.choice((b"'", b'"\\ud800', b"\xed\xa0\x80", b'"\\u0000')), 2)
        case 8:
            return gzip.compress(content)
        case 9:
            return draw.choice((b"[", b'{"a":', b'{"inputs":[')) * draw.choice((10, 1000, 20_000))
        case 10:
            return draw.randbytes(draw.randrange(200))
        case _:
            return content + draw.choice((b"x", b"{}", b"\x00", b",", b" " * 5000))
