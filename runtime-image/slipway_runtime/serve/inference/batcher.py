"""From queue to model: whenever the model is free, the next batch runs. No timer, no HTTP.

One thread runs all forwards, so torch's own threads never compete with each other; it takes from the queue itself,
since a way back over the event loop would leave the model idle between two batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from slipway_runtime.errors import InferenceFailed
from slipway_runtime.serve.inference.queue import Queue, Work
from slipway_runtime.serve.observe.logs import logger
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.tasks.adapter import Continuous, Item


class Batcher:
    """Takes batches, runs them in `executor` (one thread), hands each output to its work."""

    def __init__(
        self,
        queue: Queue,
        executor: Executor,
        metrics: Metrics,
        *,
        budget: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._metrics = metrics
        self._budget = budget
        self._clock = clock
        self.running = 0
        """Items in the model now."""
        self.busy_since: float | None = None
        """When the present forward, or the present step of a continuous one, began."""
        self.on_fault: Callable[[Exception], None] = lambda _: None
        """Called in the inference thread where a whole batch has failed, each item alone too."""

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._queue.filled.wait()
            self._queue.filled.clear()
            await loop.run_in_executor(self._executor, self._empty, loop)

    def _empty(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until nothing waits. In the inference thread."""
        while batch := self._queue.take(self._budget):
            self.busy_since = self._clock()
            try:
                forward = batch[0].item.forward
                if isinstance(forward, Continuous):
                    self._run_continuous(forward, batch, loop)
                else:
                    self._run_batch(batch, loop)
            finally:
                self.running, self.busy_since = 0, None

    def _run_batch(self, batch: list[Work], loop: asyncio.AbstractEventLoop) -> None:
        started = self._clock()
        self._observe_start(batch, started)
        padded = max(work.item.length for work in batch) * len(batch)
        self._metrics.batch_size.observe(len(batch))
        self._metrics.batch_tokens.observe(padded)
        self.running = len(batch)
        outcomes = run_batch([work.item for work in batch])
        ended = self._clock()
        self._metrics.batch_duration.observe(ended - started)
        self._queue.pace(batch[0].item.forward).observe(padded, ended - started)
        self._pace(sum(work.item.length for work in batch), ended - started)
        for work in batch:
            work.ended = ended
        failed = [outcome for outcome in outcomes if isinstance(outcome, InferenceFailed)]
        if len(failed) == len(outcomes):
            self.on_fault(failed[0])
        loop.call_soon_threadsafe(self._deliver, list(zip(batch, outcomes, strict=True)))

    def _run_continuous(self, forward: Continuous, batch: list[Work], loop: asyncio.AbstractEventLoop) -> None:
        feed = _Feed(self, forward, batch, loop)
        try:
            forward.run([work.item for work in batch], feed)
        except Exception as error:
            logger.error("a continuous batch failed", exc_info=error)
            self.on_fault(error)
            feed.fail(InferenceFailed(f"the model failed while it wrote ({type(error).__name__})"))

    def _observe_start(self, batch: Sequence[Work], now: float) -> None:
        for work in batch:
            work.started = now
            self._metrics.queue_duration.observe(now - work.since)

    def _deliver(self, outcomes: Sequence[tuple[Work, Any]]) -> None:
        """On the event loop."""
        for work, outcome in outcomes:
            if work.output.done():  # the caller went while it ran
                continue
            if isinstance(outcome, Exception):
                self._metrics.failed_items.inc()
                work.output.set_exception(outcome)
            else:
                work.output.set_result(outcome)

    def _pace(self, tokens: int, seconds: float) -> None:
        """A moving average, so that one odd batch does not set the Retry-After of all."""
        now = tokens / max(seconds, 1e-6)
        before = self._queue.tokens_per_second
        self._queue.tokens_per_second = now if not before else 0.8 * before + 0.2 * now


class _Feed:
    """One continuous batch: see tasks/adapter.py's Feed."""

    def __init__(
        self, batcher: Batcher, forward: Continuous, batch: Sequence[Work], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._batcher = batcher
        self._forward = forward
        self._loop = loop
        self._inside: dict[int, Work] = {}
        self._since = batcher._clock()
        self._taken = 0
        self._enter(batch)

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:
        now = self._batcher._clock()
        if self._batcher.busy_since is not None and self._inside:
            self._batcher._metrics.batch_duration.observe(now - self._batcher.busy_since)
        self._batcher.busy_since = now
        works = self._batcher._queue.more(self._forward, fits)
        self._enter(works)
        return [work.item for work in works]

    def done(self, item: Item, output: Any) -> None:
        work = self._inside.pop(id(item))
        work.ended = now = self._batcher._clock()
        self._batcher.running = len(self._inside)
        self._taken += item.length
        if now - self._since > 1.0 or not self._inside:
            self._batcher._pace(self._taken, now - self._since)
            self._since, self._taken = now, 0
        self._loop.call_soon_threadsafe(self._batcher._deliver, [(work, output)])

    def fail(self, error: Exception) -> None:
        """What is inside is lost."""
        for work in list(self._inside.values()):
            self.done(work.item, error)

    def _enter(self, works: Sequence[Work]) -> None:
        if not works:
            return
        self._batcher._observe_start(works, self._batcher._clock())
        self._inside.update((id(work.item), work) for work in works)
        self._batcher.running = len(self._inside)
        self._batcher._metrics.batch_size.observe(len(self._inside))
        self._batcher._metrics.batch_tokens.observe(sum(work.item.length for work in works))


def run_batch(items: Sequence[Item]) -> list[Any]:
    """Outputs in order, in the inference thread.

    If a batch fails, each item runs alone, so that only the bad one fails.
    """
    try:
        return items[0].forward(items)
    except Exception as error:
        if len(items) == 1:
            logger.error("a forward failed", exc_info=error)
            return [InferenceFailed(f"the model failed on this input ({type(error).__name__})")]
        return [outcome for item in items for outcome in run_batch([item])]
