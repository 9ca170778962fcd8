"""JSON that callers send, read strictly: UTF-8, finite numbers, every key once, of bounded depth.

orjson is strict in all but two things: of a key that stands twice it takes the last, where another reader takes the
first (two readers of one request that disagree are how checks are passed by), and it allows 1024 levels, more than
Python's own stack has. Both are checked on what it made: a key that is lost leaves fewer keys than the text has.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput

MAX_DEPTH = 64
MAX_NODES = 100_000  # lists and objects; a body of brackets alone would otherwise take a second
_NAMED = 65536  # in larger bodies a doubled key is not named: finding it takes longer than reading them
_PERHAPS_KEY = re.compile(rb'"\s*:')
_NO_KEY = re.compile(rb'\\"\s*:')
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?', re.DOTALL)


def strict_json(body: bytes, field: str = "", what: str = "the body") -> Any:
    """What the bytes say. Raises InvalidInput, whose texts begin with `what`."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            field,
            f"{what} is not valid JSON in UTF-8 (line {error.lineno}, column {error.colno}: {error.msg}; NaN and "
            "Infinity are not JSON)",
        ) from None
    if isinstance(data, dict | list):
        keys = _checked(data, body, field, what)
        if keys < body.count(b":") and keys < _perhaps_keys(body) and keys < _keys(body):
            raise InvalidInput(field, f"{what} has {_doubled(body)} twice in one object; give it once")
    return data


def _checked(data: dict[str, Any] | list[Any], body: bytes, field: str, what: str) -> int:
    """How many keys it has. Raises InvalidInput for what is too deep or has too many parts.

    Level by level, and no further than to the last list or object: the numbers of a long list are not looked at.
    """
    most = body.count(b"{") + body.count(b"[")
    level: list[dict[str, Any] | list[Any]] = [data]
    keys = len(data) if isinstance(data, dict) else 0
    found = 1
    for _ in range(MAX_DEPTH):
        if found == most:
            return keys
        below: list[dict[str, Any] | list[Any]] = []
        for node in level:
            for value in node.values() if type(node) is dict else node:
                if type(value) is dict:
                    keys += len(value)
                    below.append(value)
                elif type(value) is list:
                    below.append(value)
        found += len(below)
        if found > MAX_NODES:
            raise InvalidInput(field, f"{what} has more than {MAX_NODES} lists and objects; send several requests")
        if not below:
            return keys
        level = below
    raise InvalidInput(field, f"{what} is nested deeper than {MAX_DEPTH} levels")


def _perhaps_keys(body: bytes) -> int:
    """At least as many as the text has, and mostly just as many: quotes before a colon, without those inside texts."""
    found = len(_PERHAPS_KEY.findall(body))
    # A key may end with a backslash, written as two: then a quote after one may be its end.
    return found if rb'\\"' in body else found - len(_NO_KEY.findall(body))


def _keys(body: bytes) -> int:
    """How many keys the text has, exactly."""
    found = _STRING.findall(body)
    return len(found) - found.count(b"")


def _doubled(body: bytes) -> str:
    """The first key that stands twice."""
    if len(body) > _NAMED:
        return "a key"
    names: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in found:
            if name in seen:
                names.append(name)
            seen.add(name)

    json.loads(body, object_pairs_hook=pairs)
    return repr(names[0][:80])
