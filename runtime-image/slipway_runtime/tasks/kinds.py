"""Words for values, in messages. Never imports torch: dialects use it too."""

from __future__ import annotations


def kind_of(value: object) -> str:
    """JSON's word for a value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
             bytes: "binary data"}  # fmt: skip
    return names.get(type(value), "null")
