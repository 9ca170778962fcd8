"""Waiting items, bounded and fair between callers. Knows nothing of HTTP or models.

The event loop puts, the inference thread takes: a lock guards both, held for microseconds. Callers take turns by
tokens (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996): a caller's thousand items stand in one line, and
another's only item beside its first.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from slipway_runtime.errors import Overloaded
from slipway_runtime.serve.inference.batching import Pace, cut, window
from slipway_runtime.tasks.adapter import Continuous, Forward, Item

MOST_PACES = 64  # memory: some tasks have a forward for each set of options, a caller's own words among them


@dataclass(eq=False)
class Work:
    """One waiting item and where its output goes. A future that is done, for example cancelled, is never run."""

    item: Item
    output: asyncio.Future[Any]
    since: float
    caller: str = ""
    turn: float = 0.0
    """Its place in line: tokens that a caller without weight would have had before it."""
    started: float = 0.0
    ended: float = 0.0


@dataclass
class _Line:
    """What one caller has waiting."""

    end: float
    """The turn of its next item."""
    tokens: int = 0
    items: int = 0


class Queue:
    """Full means `Overloaded` at once, never a longer wait."""

    def __init__(
        self, max_tokens: int, max_seconds: float = math.inf, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`max_seconds`: how long what waits may be expected to take."""
        self._max_tokens = max_tokens
        self._max_seconds = max_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[Work, None] = {}  # removal in O(1)
        self._lines: dict[str, _Line] = {}
        self._planned: deque[list[Work]] = deque()
        self._paces: dict[Forward, Pace] = {}
        self._now = 0.0  # the turn of what was taken last
        self.filled = asyncio.Event()
        """Set when something is put, on the event loop."""
        self.tokens = 0
        self.tokens_per_second = 0.0
        """What the batcher last reached; used to say when to come back."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, items: Sequence[Item], caller: str = "") -> list[Work]:
        """Admit all items of one request, or none. On the event loop.

        A request larger than the whole queue is admitted when it is empty. Where it is full, a caller with less than
        an equal share of it waiting is admitted still, so that nobody can fill it for all others.
        """
        tokens = sum(item.length for item in items)
        loop, now = asyncio.get_running_loop(), self._clock()
        with self._lock:
            self._check(tokens, caller)
            line = self._lines.setdefault(caller, _Line(self._now))
            line.end = max(line.end, self._now)
            works = []
            for item in items:
                works.append(Work(item, loop.create_future(), now, caller, line.end))
                line.end += item.length
            line.tokens += tokens
            line.items += len(items)
            self._waiting.update(dict.fromkeys(works))
            self.tokens += tokens
        self.filled.set()
        return works

    def check(self, caller: str) -> None:
        """Overloaded where `put` would raise it for an item of one token: before a body is read, let alone parsed."""
        with self._lock:
            self._check(1, caller)

    def _check(self, tokens: int, caller: str) -> None:
        if not self._waiting:
            return
        line = self._lines.get(caller)
        callers = len(self._lines) + (line is None)
        share = ((line.tokens if line is not None else 0) + tokens) * callers
        full = self.tokens + tokens > self._max_tokens
        if full and (callers == 1 or share > self._max_tokens):
            raise Overloaded(
                f"the queue is full ({self.tokens} of {self._max_tokens} tokens wait); try again later",
                self.drain_seconds(),
            )
        most = self._max_seconds * self.tokens_per_second
        if self.tokens > most > 0 and (callers == 1 or share > most):
            raise Overloaded(
                f"what waits will take about {self.tokens / self.tokens_per_second:.1f} s, at most "
                f"{self._max_seconds:g} s are allowed; try again later",
                self.drain_seconds(),
            )

    def drop(self, works: Sequence[Work]) -> int:
        """Forget work whose caller has gone; returns how many had not started. On the event loop."""
        with self._lock:
            dropped = sum(self._remove(work) for work in works)
        for work in works:
            work.item.listener.gone = True
            if not work.output.done():
                work.output.cancel()
        return dropped

    def refuse(self, error: Callable[[], Exception]) -> int:
        """Answer all that waits with an error; returns how many. On the event loop."""
        with self._lock:
            works = [work for work in list(self._waiting) if self._remove(work)]
        for work in works:
            if not work.output.done():
                work.output.set_exception(error())
        return len(works)

    def take(self, budget: int) -> list[Work]:
        """The next batch: items of one forward, near in length, within `budget` tokens; the first of a continuous one;
        empty where nothing waits."""
        with self._lock:
            while True:
                if not self._planned:
                    self._plan(budget)
                if not self._planned:
                    return []
                batch = [work for work in self._planned.popleft() if self._remove(work)]
                if batch:
                    self._now = max(self._now, *(work.turn for work in batch))
                    return batch

    def more(self, forward: Forward, fits: Callable[[Item], bool]) -> list[Work]:
        """What waits next, as long as it is of `forward` and fits."""
        with self._lock:
            self._planned.clear()
            taken = []
            while self._waiting:  # asked at every step, mostly for nothing: not the place to sort
                work = min(self._waiting, key=attrgetter("turn"))
                if work.item.forward != forward or not fits(work.item):
                    break
                self._remove(work)
                self._now = max(self._now, work.turn)
                taken.append(work)
            return taken

    def pace(self, forward: Forward) -> Pace:
        """What that forward costs, by what was observed. In the inference thread."""
        pace = self._paces.pop(forward, None) or Pace()
        self._paces[forward] = pace  # the last: those longest out of use come first
        if len(self._paces) > MOST_PACES:
            del self._paces[next(iter(self._paces))]
        return pace

    def drain_seconds(self) -> float:
        """An estimate of when what waits now has run, at least 1."""
        return max(1.0, self.tokens / self.tokens_per_second) if self.tokens_per_second else 1.0

    def _plan(self, budget: int) -> None:
        if not self._waiting:
            return
        line = sorted(self._waiting, key=attrgetter("turn"))
        forward = line[0].item.forward
        if isinstance(forward, Continuous):  # which asks for more itself
            self._planned.append(line[:1])
            return
        line = [work for work in line if work.item.forward == forward]
        lengths = [work.item.length for work in line]
        pace = self._paces.get(forward) or Pace()
        size = window(lengths, pace)
        self._planned.extend([line[i] for i in batch] for batch in cut(lengths[:size], budget, pace))

    def _remove(self, work: Work) -> bool:
        if work not in self._waiting:
            return False
        del self._waiting[work]
        self.tokens -= work.item.length
        line = self._lines[work.caller]
        line.tokens -= work.item.length
        line.items -= 1
        if not line.items:
            del self._lines[work.caller]
        return True
