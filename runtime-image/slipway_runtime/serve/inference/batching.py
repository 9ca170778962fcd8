"""Which of the waiting items run together. Pure.

What waits longest makes a window; the window is sorted by length and cut into batches where that costs least. Plain
padding of mixed lengths is slower than no batching (measured: 0.54 to 0.70 times); sorted by length it is 1.3 to 1.7
times faster. What a batch costs is learned while it runs, so a processor gets small batches and a GPU large ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# The share of what waits that makes a window. All of it would be an eighth faster, but whoever came last could then
# wait for the longest of two windows: operator/decisions/0012 has the figures.
SHARE = 1 / 3
LEAST = 8  # items; fewer cannot be sorted to any use
WINDOW_SECONDS = 0.25  # how long whoever comes next may have to wait for a window that has begun
_FORGET = 0.98  # per batch: what was measured 100 batches ago counts an eighth


class Pace:
    """What a forward costs: seconds = fixed + per_token × tokens, padding included. Least squares over what ran."""

    def __init__(self, fixed: float = 3e-3, per_token: float = 1e-4) -> None:
        self.fixed = fixed
        self.per_token = per_token
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """A forward of `tokens`, padding included, took `seconds`."""
        f = _FORGET
        self._n, self._x, self._y = f * self._n + 1, f * self._x + tokens, f * self._y + seconds
        self._xx, self._xy = f * self._xx + tokens * tokens, f * self._xy + tokens * seconds
        spread = self._n * self._xx - self._x * self._x
        if self._n < 4 or spread <= 1e-6 * self._xx:  # equal sizes tell nothing of the slope
            return
        slope = (self._n * self._xy - self._x * self._y) / spread
        mean = self._y / self._n
        # Noise may turn either part negative; a forward has both.
        self.per_token = min(max(slope, 0.05 * self._y / self._x), self._y / self._x)
        self.fixed = max(mean - self.per_token * self._x / self._n, 0.0)

    def seconds(self, tokens: int) -> float:
        """What a forward of so many tokens will take."""
        return self.fixed + self.per_token * tokens


def window(lengths: Sequence[int], pace: Pace) -> int:
    """How many of the waiting items, in the order of their turn, are planned at once: at least 1."""
    size = min(len(lengths), max(LEAST, math.ceil(SHARE * len(lengths))))
    seconds = 0.0
    for i in range(size):
        seconds += pace.per_token * lengths[i]
        if i >= LEAST and seconds > WINDOW_SECONDS:
            return i
    return size


def cut(lengths: Sequence[int], budget: int, pace: Pace) -> list[list[int]]:
    """Indexes of `lengths` in batches, the batch with the first item first.

    Sorted by length and cut where the sum of the batches' costs is least, by dynamic programming. `budget`: tokens of
    one batch, padding included; an item longer than that runs alone.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    least, begin = [0.0] + [math.inf] * len(order), [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        for start in range(end - 1, -1, -1):
            tokens = longest * (end - start)
            if tokens > budget and end - start > 1:
                break
            cost = least[start] + pace.fixed + pace.per_token * tokens
            if cost < least[end]:
                least[end], begin[end] = cost, start
    batches, end = [], len(order)
    while end:
        batches.append(order[begin[end] : end])
        end = begin[end]
    return sorted(batches, key=min)
