"""Whether an answer holds numbers only: JSON has no NaN and no infinity, and null would pass for an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def finite(value: Any) -> bool:
    """Of an answer in JSON types and numpy arrays; what is neither (media, generated texts) is not looked into."""
    kind = type(value)
    if kind is float:
        return bool(value - value == 0.0)  # NaN for both NaN and infinity
    if kind is dict:
        return _all_finite(value.values())
    if kind is list or kind is tuple:
        return _all_finite(value)
    if getattr(value, "dtype", None) is None:
        return True
    import numpy as np  # noqa: PLC0415 - who has arrays has it; the port answers before

    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def _all_finite(values: Iterable[Any]) -> bool:
    for value in values:  # not all(): a call less for each string and number
        kind = type(value)
        if kind is float:
            if value - value != 0.0:
                return False
        elif kind is not str and not finite(value):
            return False
    return True
