"""Request parameters → the task's struct, with errors that name the field and what is allowed."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import typing
from typing import Any, TypeVar

import msgspec

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Parameters

P = TypeVar("P", bound=Parameters)
_SHOWN = 300  # characters of a sentence that may quote what the caller sent
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def convert(parameters: dict[str, Any], kind: type[P]) -> P:
    """Check and convert. None means absent: TGI's client sends every parameter as an explicit null."""
    given = _named(parameters, kind, "parameters", "this task takes")
    try:
        return msgspec.convert(given, kind, strict=True)
    except msgspec.ValidationError as error:
        path, text = place_of(error)
        raise InvalidInput(f"parameters.{path}" if path else "parameters", text) from None


def _named(given: dict[str, Any], kind: type[Parameters], path: str, takes: str) -> dict[str, Any]:
    """Without those that are None; every name, also of parameters inside parameters, is one of the struct's."""
    fields = _fields(kind)
    named = {name: value for name, value in given.items() if value is not None}
    for name, value in named.items():
        if name not in fields:
            close = difflib.get_close_matches(name[:80], fields, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            own = inspect.get_annotations(kind)  # named before those shared with other tasks
            known = ", ".join(sorted(fields, key=lambda field: field not in own)) or "no parameters"
            raise InvalidInput(f"{path}.{name[:80]}", f"unknown parameter{meant}; {takes} {known}")
        if type(value) is int and not -(2**63) <= value < 2**63:  # what the libraries below count with
            raise InvalidInput(f"{path}.{name}", "is beyond 64 bits")
        inner = fields[name]
        if inner is not None and isinstance(value, dict):
            named[name] = _named(value, inner, f"{path}.{name}", "allowed are")
    return named


@functools.cache  # reading them takes longer than all the rest, at each request
def _fields(kind: type[Parameters]) -> dict[str, type[Parameters] | None]:
    """Name → what `_struct_of` its type is."""
    return {field.encode_name: _struct_of(field.type) for field in msgspec.structs.fields(kind)}


def _struct_of(kind: Any) -> type[Parameters] | None:
    """The Parameters that a field's type is, or may be."""
    among = (kind, *typing.get_args(kind))
    return next((one for one in among if isinstance(one, type) and issubclass(one, Parameters)), None)


def place_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """Where in the structure it is, and what is wrong there."""
    text = str(error)
    found = _AT.search(text)
    return (found["path"] if found else "")[:_SHOWN], _AT.sub("", text).replace("`", "")[:_SHOWN]
