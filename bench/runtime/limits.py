"""The direct forward's limit for n callers, and what a window of a load comes to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.table import percentile


def batches(lengths: Sequence[int], size: int, *, in_order: bool = False) -> list[list[int]]:
    """Indexes of a window's inputs, sorted by length unless `in_order`, in batches of `size`."""
    order = list(range(len(lengths))) if in_order else sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]


def candidates(callers: int) -> list[int]:
    """Batch sizes among which the best is looked for: powers of 2, and the whole window."""
    sizes = {2**i for i in range(7) if 2**i <= callers}
    return sorted(sizes | {min(callers, 64)})


class Asked(NamedTuple):
    """One request as the client saw it; seconds of a monotonic clock."""

    began: float
    first: float
    """When the first part of its answer was there."""
    ended: float
    status: int
    """0: no answer at all."""


class Load(NamedTuple):
    """A window of a load. Seconds."""

    rate: float
    """Requests with status 200 per second. One counts with the share of its time that lies in the window, so that
    answers which come in bursts do not make it jump."""
    p50: float
    p99: float
    first_p50: float
    first_p99: float
    answered: int
    other: int
    """Those that were not answered with 200."""


def load(asked: Sequence[Asked], began: float, ended: float) -> Load:
    """What was answered from `began` to `ended`."""
    good = [one for one in asked if one.status == 200]
    shares = [max(0.0, min(one.ended, ended) - max(one.began, began)) / (one.ended - one.began) for one in good]
    inside = [one for one in good if began <= one.ended < ended]
    if not inside:
        raise ValueError(f"no request was answered in {ended - began:.1f} s; {len(asked) - len(good)} failed")
    seconds = [one.ended - one.began for one in inside]
    first = [one.first - one.began for one in inside]
    other = sum(one.status != 200 and began <= one.ended < ended for one in asked)
    rate = sum(shares) / (ended - began)
    return Load(
        rate,
        percentile(seconds, 0.5),
        percentile(seconds, 0.99),
        percentile(first, 0.5),
        percentile(first, 0.99),
        len(inside),
        other,
    )
