"""The loop between queue and model: whenever the model is free, the next batch runs. No timer, no HTTP.

One thread runs all forwards, so torch's own threads never compete with each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from slipway_runtime.errors import InferenceFailed
from slipway_runtime.serve.logs import logger
from slipway_runtime.serve.metrics import Metrics
from slipway_runtime.serve.queue import Queue, Work
from slipway_runtime.tasks.adapter import Item


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

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._queue.take(self._budget)
            self._observe(batch)
            self.running = len(batch)
            started = self._clock()
            outcomes = await loop.run_in_executor(self._executor, run_batch, [work.item for work in batch])
            self._metrics.batch_duration.observe(took := self._clock() - started)
            self._pace(sum(work.item.length for work in batch), took)
            self.running = 0
            for work in batch:
                work.started, work.ended = started, started + took
            for work, outcome in zip(batch, outcomes, strict=True):
                if work.output.done():  # the caller went while it ran
                    continue
                if isinstance(outcome, Exception):
                    self._metrics.failed_items.inc()
                    work.output.set_exception(outcome)
                else:
                    work.output.set_result(outcome)

    def _observe(self, batch: list[Work]) -> None:
        lengths = [work.item.length for work in batch]
        self._metrics.batch_size.observe(len(batch))
        self._metrics.batch_tokens.observe(max(lengths) * len(batch))
        for work in batch:
            self._metrics.queue_duration.observe(self._queue.age(work))

    def _pace(self, tokens: int, seconds: float) -> None:
        """A moving average, so that one odd batch does not set the Retry-After of all."""
        now = tokens / max(seconds, 1e-6)
        before = self._queue.tokens_per_second
        self._queue.tokens_per_second = now if not before else 0.8 * before + 0.2 * now


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
