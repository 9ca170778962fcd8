"""Workers: take a key, reconcile it, decide when it is looked at again.

The one place where a reconcile's errors end.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from slipway_operator import errors, logs, metrics
from slipway_operator.controller.queue import WorkQueue
from slipway_operator.kinds import Key

logger = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[float | None]]
"""Brings one key's object towards its spec; returns the seconds after which to look again without an event, or None."""


class Workers:
    """`count` workers on one queue, started when this process leads and stopped when it does not."""

    def __init__(self, kind: str, queue: WorkQueue, reconcile: Reconcile, *, count: int) -> None:
        self._kind = kind
        self._queue = queue
        self._reconcile = reconcile
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self._seconds = metrics.RECONCILE_SECONDS.labels(kind)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(), name=f"{self._kind}-{n}") for n in range(self._count)]

    async def stop(self) -> None:
        """Ends the workers where they are: what was half done is done again by the next leader, to the same end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                with logs.about(kind=self._kind, namespace=key.namespace, name=key.name):
                    await self._handle(key)
            finally:
                self._queue.done(key)

    async def _handle(self, key: Key) -> None:
        started = time.perf_counter()
        try:
            again = await self._reconcile(key)
        except errors.ClusterError as error:
            self._failed(key, "the API server did not take it", error)
        except Exception as error:
            # A bug must cost one key its progress, not the process its others; the log has the traceback.
            logger.exception("reconcile failed")
            self._failed(key, "a bug", error)
        else:
            self._queue.forget(key)
            metrics.RECONCILES.labels(self._kind, "success" if again is None else "requeue_after").inc()
            if again is not None:
                self._queue.add_after(key, again)
        finally:
            self._seconds.observe(time.perf_counter() - started)

    def _failed(self, key: Key, what: str, error: Exception) -> None:
        wait = error.retry_after if isinstance(error, errors.ApiError) and error.retry_after else 0.0
        delay = self._queue.retry(key, at_least=wait)
        metrics.RECONCILES.labels(self._kind, "error").inc()
        # A conflict is how concurrent writers meet, and an object may go while it is worked on: the next try settles
        # it.
        passing = (errors.Conflict, errors.NotFound, errors.Unreachable)
        level = logging.INFO if isinstance(error, passing) else logging.WARNING
        logger.log(level, "%s: %s; again in %.1f s", what, error, delay)
