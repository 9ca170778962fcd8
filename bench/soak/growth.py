"""Does a series of samples grow? A line through the means of equal stretches of time, with the error of its slope.

Samples a few seconds apart are alike, so the error of a line through all of them would come out far too small; means of
stretches that are long against that are nearly independent of each other.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

STRETCHES = 12
WARM_UP = 0.25
"""The share of a run in which memory pools, caches and connections are still filled for the first time."""


@dataclass(frozen=True)
class Sample:
    """One moment of one process."""

    at: float
    """Seconds since the run began."""
    megabytes: float
    """Resident."""
    handles: int
    threads: int
    lag: float
    """Seconds until the event loop answered a probe."""


@dataclass(frozen=True)
class Growth:
    """A line through a series."""

    first: float
    """Mean of the first stretch after the warm-up."""
    last: float
    """Mean of the last one."""
    per_hour: float
    error: float
    """Standard error of `per_hour`."""
    hours: float
    """What the line covers."""

    def exceeds(self, bound: float) -> bool:
        """Whether it grew by more than `bound` while it was looked at, and not by chance (three standard errors)."""
        return self.per_hour * self.hours > bound and self.per_hour > 3 * self.error


def growth(times: Sequence[float], values: Sequence[float], *, total: float) -> Growth | None:
    """Of samples at `times` seconds in a run of `total` seconds; None where too little of it is left to tell."""
    begin = WARM_UP * total
    length = (total - begin) / STRETCHES
    stretches: dict[int, list[float]] = {}
    for at, value in zip(times, values, strict=True):
        if at >= begin:
            stretches.setdefault(min(STRETCHES - 1, int((at - begin) / length)), []).append(value)
    if len(stretches) < STRETCHES // 2:
        return None
    hours = [(begin + (number + 0.5) * length) / 3600 for number in sorted(stretches)]
    means = [statistics.fmean(stretches[number]) for number in sorted(stretches)]
    slope, intercept = statistics.linear_regression(hours, means)
    residuals = sum((mean - intercept - slope * hour) ** 2 for hour, mean in zip(hours, means, strict=True))
    spread = sum((hour - statistics.fmean(hours)) ** 2 for hour in hours)
    error = math.sqrt(residuals / (len(means) - 2) / spread)
    return Growth(means[0], means[-1], slope, error, hours[-1] - hours[0])
