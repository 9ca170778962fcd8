"""From a body's bytes to a checked structure, with errors that name the field. Shared by the JSON formats."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from slipway_runtime.errors import InvalidInput, UnsupportedEncoding
from slipway_runtime.serve.dialects.strict_json import strict_json
from slipway_runtime.tasks.parameters import place_of

S = TypeVar("S", bound=msgspec.Struct)
# What clients, curl and proxies put there although the body is JSON.
JSON_TYPES = ("", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded")


def media_type(headers: Mapping[str, str]) -> str:
    """Of the body, without its parameters; empty where none is given."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def json_object(body: bytes, headers: Mapping[str, str], shape: str) -> dict[str, Any]:
    """The body as an object; `shape` shows what is expected. A missing or odd Content-Type is taken as JSON."""
    media = media_type(headers)
    if media not in (*JSON_TYPES, "application/octet-stream") and not media.endswith("+json"):
        raise UnsupportedEncoding(f"Content-Type {media[:80]!r} is not read here; send application/json")
    if not body or body.isspace():
        raise InvalidInput("", f"the body is empty; send {shape}")
    data = strict_json(body)
    if not isinstance(data, dict):
        raise InvalidInput("", f"the body must be a JSON object: {shape}")
    return data


def struct(data: Mapping[str, Any], kind: type[S]) -> S:
    """Check and convert. None means absent; names beside the struct's are refused."""
    allowed, required = _names(kind)
    given = {name: value for name, value in data.items() if value is not None}
    for name in given:
        if name not in allowed:
            close = difflib.get_close_matches(name[:80], allowed, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise InvalidInput(name[:80], f"unknown field{meant}; this route takes {', '.join(allowed)}")
    for name in required:
        if name not in given:
            raise InvalidInput(name, "is missing")
    try:
        return msgspec.convert(given, kind, strict=True)
    except msgspec.ValidationError as error:
        path, text = place_of(error)
        raise InvalidInput(path, text) from None


@functools.cache
def _names(kind: type[msgspec.Struct]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(all fields, those that must be given)."""
    fields = msgspec.structs.fields(kind)
    return tuple(f.encode_name for f in fields), tuple(f.encode_name for f in fields if f.required)
