"""The work queue: a key is in it once, is handled by one worker at a time, and comes back later when asked to.

The semantics of client-go's workqueue, on one event loop and so without locks.
"""

import asyncio
import heapq
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable

from slipway_operator import metrics
from slipway_operator.kinds import Key


class WorkQueue:
    """Two priorities: what changed is looked at before what is only looked at again."""

    def __init__(
        self,
        name: str,
        *,
        retry_base: float,
        retry_max: float,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._retry_base = retry_base
        self._retry_max = retry_max
        self._clock = clock
        self._jitter = jitter
        self._urgent: OrderedDict[Key, float] = OrderedDict()
        self._routine: OrderedDict[Key, float] = OrderedDict()
        self._processing: set[Key] = set()
        self._again: dict[Key, bool] = {}
        """Keys that were added while being processed → whether urgently."""
        self._failures: dict[Key, int] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        """The earliest time that a key was asked for; other entries of `_later` are void."""
        self._order = itertools.count()
        self._ready = asyncio.Event()
        self._depth = metrics.QUEUE_DEPTH.labels(name)
        self._waited = metrics.QUEUE_SECONDS.labels(name)
        self._retries = metrics.QUEUE_RETRIES.labels(name)

    def __len__(self) -> int:
        return len(self._urgent) + len(self._routine)

    def oldest(self) -> float:
        """Seconds that the longest-waiting key has waited."""
        # Not just the front: a key that was moved up keeps the time since when it waits.
        since = min((*self._urgent.values(), *self._routine.values()), default=None)
        return 0.0 if since is None else self._clock() - since

    def clear(self) -> None:
        """Forgets every key that waits, and its backoff: whoever leads next starts from all keys."""
        for collection in (self._urgent, self._routine, self._again, self._failures, self._later, self._due):
            collection.clear()
        self._depth.set(0)

    def add(self, key: Key, *, urgent: bool = True) -> None:
        """Puts a key in line; one that is there already keeps its place, or is moved up."""
        if key in self._processing:
            self._again[key] = urgent or self._again.get(key, False)
            return
        if key in self._urgent:
            return
        since = self._routine.pop(key, None) if urgent else self._routine.get(key)
        if urgent:
            self._urgent[key] = self._clock() if since is None else since
        elif since is None:
            self._routine[key] = self._clock()
        self._depth.set(len(self))
        self._ready.set()

    def add_after(self, key: Key, delay: float) -> None:
        """Puts a key in line after `delay` seconds, unless an earlier time is asked for already."""
        due = self._clock() + delay
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._order), key))
        self._ready.set()

    def retry(self, key: Key, *, at_least: float = 0.0) -> float:
        """Puts a key in line after its backoff: doubling from `retry_base` to `retry_max`, with jitter. Returns the
        delay.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(self._retry_max, self._retry_base * 2 ** min(failures, 20))
        delay = max(at_least, ceiling * (0.5 + self._jitter() / 2))
        self._retries.inc()
        self.add_after(key, delay)
        return float(delay)

    def forget(self, key: Key) -> None:
        """The key's reconcile succeeded: its next failure starts the backoff anew."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """The next key; it is the caller's until done()."""
        while True:
            self._promote()
            for line in (self._urgent, self._routine):
                if line:
                    key, since = line.popitem(last=False)
                    self._processing.add(key)
                    self._due.pop(key, None)
                    self._depth.set(len(self))
                    self._waited.observe(self._clock() - since)
                    return key
            self._ready.clear()
            wait = max(0.0, self._later[0][0] - self._clock()) if self._later else None
            try:
                async with asyncio.timeout(wait):
                    await self._ready.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """Gives a key back; it goes in line at once if it was added meanwhile."""
        self._processing.discard(key)
        if (urgent := self._again.pop(key, None)) is not None:
            self.add(key, urgent=urgent)

    def _promote(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key, urgent=False)
