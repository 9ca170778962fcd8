"""A route that several formats share: a field of the body tells which one it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from slipway_runtime.errors import RequestError
from slipway_runtime.serve.dialects import Dialect, Exchange


class Dispatch(Dialect):
    """The format whose field the body has, else the default. Errors have the default's shape."""

    name = "dispatch"

    def __init__(self, default: Dialect, by_field: Mapping[str, Dialect]) -> None:
        self._default = default
        self._by_field = by_field
        self.name = default.name  # type: ignore[misc]  # what logs and metrics call it
        self.statuses = default.statuses  # type: ignore[misc]

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:
        for field, dialect in self._by_field.items():
            if f'"{field}"'.encode() in body and field in _fields(body):  # most bodies are not read twice
                return dialect.parse(body, headers, path)
        return self._default.parse(body, headers, path)

    def render_error(self, error: RequestError) -> bytes:
        return self._default.render_error(error)

    def error_headers(self, error: RequestError) -> Sequence[tuple[str, str]]:
        return self._default.error_headers(error)


def _fields(body: bytes) -> Mapping[str, object]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}
