"""Request parameters → the task's struct, with errors that name the field and what is allowed."""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar

import msgspec

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Parameters

P = TypeVar("P", bound=Parameters)
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def convert(parameters: dict[str, Any], kind: type[P]) -> P:
    """Check and convert. None means absent: TGI's client sends every parameter as an explicit null."""
    given = {name: value for name, value in parameters.items() if value is not None}
    allowed = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in given:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise InvalidInput(
                f"parameters.{name[:80]}",
                f"unknown parameter{meant}; this task takes {', '.join(allowed) if allowed else 'no parameters'}",
            )
    try:
        return msgspec.convert(given, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        path = f"parameters.{found['path']}" if found and found["path"] else "parameters"
        raise InvalidInput(path, _AT.sub("", text).replace("`", "")) from None
