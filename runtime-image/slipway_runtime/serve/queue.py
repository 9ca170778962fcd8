"""Waiting items, bounded. Knows nothing of HTTP or models. One event loop's property: no locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slipway_runtime.errors import Overloaded
from slipway_runtime.serve.batching import choose
from slipway_runtime.tasks.adapter import Item


@dataclass(eq=False)
class Work:
    """One waiting item and where its output goes. A future that is done, for example cancelled, is never run."""

    item: Item
    output: asyncio.Future[Any]
    since: float
    started: float = 0.0
    ended: float = 0.0


class Queue:
    """First in, first considered. Full means `Overloaded` at once, never a longer wait."""

    def __init__(self, max_tokens: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_tokens = max_tokens
        self._clock = clock
        self._waiting: dict[Work, None] = {}  # insertion order, removal in O(1)
        self._filled = asyncio.Event()
        self.tokens = 0
        self.tokens_per_second = 0.0
        """What the batcher last reached; used to say when to come back."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, items: Sequence[Item]) -> list[Work]:
        """Admit all items of one request, or none.

        A request larger than the whole queue is admitted when it is empty.
        """
        tokens = sum(item.length for item in items)
        if self._waiting and self.tokens + tokens > self._max_tokens:
            raise Overloaded(
                f"the queue is full ({self.tokens} of {self._max_tokens} tokens wait); try again later",
                self.drain_seconds(),
            )
        loop, now = asyncio.get_running_loop(), self._clock()
        works = [Work(item, loop.create_future(), now) for item in items]
        self._waiting.update(dict.fromkeys(works))
        self.tokens += tokens
        self._filled.set()
        return works

    def drop(self, works: Sequence[Work]) -> int:
        """Forget work whose caller has gone; returns how many had not started."""
        dropped = 0
        for work in works:
            dropped += self._remove(work)
            work.item.listener.gone = True
            if not work.output.done():
                work.output.cancel()
        return dropped

    async def take(self, budget: int) -> list[Work]:
        """Wait for work, then the next batch: items of one forward, near in length, within `budget` tokens."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        oldest = next(iter(self._waiting))
        same = [work for work in self._waiting if work.item.forward == oldest.item.forward]
        batch = [same[i] for i in choose([work.item.length for work in same], budget)]
        for work in batch:
            self._remove(work)
        return batch

    def drain_seconds(self) -> float:
        """An estimate of when what waits now has run, at least 1."""
        return max(1.0, self.tokens / self.tokens_per_second) if self.tokens_per_second else 1.0

    def age(self, work: Work) -> float:
        """Seconds since it was put."""
        return self._clock() - work.since

    def _remove(self, work: Work) -> bool:
        if work not in self._waiting:
            return False
        del self._waiting[work]
        self.tokens -= work.item.length
        return True
