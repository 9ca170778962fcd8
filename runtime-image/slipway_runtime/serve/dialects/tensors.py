"""The Open Inference Protocol's tensors: a datatype, a shape and data, flat or nested as the shape says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from slipway_runtime.errors import InvalidInput

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
MAX_RANK = 8
_FLOAT_MOST = {"FP16": 65504.0, "FP32": 3.4028234663852886e38, "FP64": math.inf}


class Tensor(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tensor of a request. BYTES are JSON strings: texts, or base64 of images and sound."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any] | str | int | float | bool
    parameters: dict[str, Any] | None = None


def elements(tensor: Tensor, field: str) -> list[Any]:
    """The data, flat, checked against shape and datatype. Raises InvalidInput."""
    if len(tensor.shape) > MAX_RANK:
        raise InvalidInput(f"{field}.shape", f"has {len(tensor.shape)} dimensions, at most {MAX_RANK} are read")
    if any(size < 0 for size in tensor.shape):
        raise InvalidInput(f"{field}.shape", f"{tensor.shape} has a negative dimension; a request's sizes are known")
    data = tensor.data if isinstance(tensor.data, list) else [tensor.data]
    nested = any(isinstance(entry, list) for entry in data)
    if nested:
        _check_nesting(data, tensor.shape, f"{field}.data")
    flat = list(_flat(data)) if nested else data
    expected = math.prod(tensor.shape)
    if len(flat) != expected:
        raise InvalidInput(
            f"{field}.data", f"has {len(flat)} elements, the shape {tensor.shape} means {expected}; make them agree"
        )
    for i, value in enumerate(flat):
        if not _fits(value, tensor.datatype):
            shown = f"a string of {len(value)} characters" if isinstance(value, str) else str(value)[:40]
            raise InvalidInput(f"{field}.data", f"element {i} is {shown}, which is no {tensor.datatype}")
    return flat


def _flat(data: list[Any]) -> Iterator[Any]:
    for entry in data:
        if isinstance(entry, list):
            yield from _flat(entry)
        else:
            yield entry


def _check_nesting(data: Any, shape: list[int], field: str) -> None:
    if not shape:
        if isinstance(data, list):
            raise InvalidInput(field, "is nested deeper than the shape says")
        return
    if not isinstance(data, list):
        raise InvalidInput(field, "is not nested as deep as the shape says; nest all of it, or none")
    if len(data) != shape[0]:
        raise InvalidInput(field, f"has {len(data)} entries where the shape says {shape[0]}")
    for entry in data:
        _check_nesting(entry, shape[1:], field)


def _fits(value: Any, datatype: Datatype) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if datatype == "BOOL":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if datatype in _FLOAT_MOST:
        return abs(value) <= _FLOAT_MOST[datatype]
    bits = int(datatype.removeprefix("U").removeprefix("INT"))
    low, high = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return isinstance(value, int) and low <= value <= high
