"""The running operator: what is made at start-up, how leadership starts and stops the work, when it is alive and
ready.
"""

import asyncio
import datetime
import logging
import random
import time
from contextlib import AsyncExitStack

from slipway_operator import kinds
from slipway_operator.cluster import pods
from slipway_operator.cluster.apply import Applier
from slipway_operator.cluster.caches import Caches
from slipway_operator.cluster.client import Client, connect
from slipway_operator.cluster.events import Recorder
from slipway_operator.cluster.lease import Election
from slipway_operator.cluster.observe import Observer
from slipway_operator.controller.queue import WorkQueue
from slipway_operator.controller.worker import Workers
from slipway_operator.kinds import Key, Object
from slipway_operator.model_endpoint.reconcile import Reconciler
from slipway_operator.settings import Settings

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 3.0
STUCK_SECONDS = 300.0
"""A key that has waited for a worker for so long means that the workers hang."""


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Process:
    """Everything of one operator process. kopf starts and stops it (handlers/lifecycle.py)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failed: asyncio.Future[None] | None = None
        """Done when a task that must run for ever has ended: the process is of no more use."""
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._clock = time.monotonic

    async def connect(self) -> Client:
        """The session to the API server; kopf uses it, too."""
        self.client = await self._stack.enter_async_context(
            connect(connections=self.settings.connections, request_timeout=self.settings.request_timeout)
        )
        reader = await self._stack.enter_async_context(pods.connect(timeout=self.settings.pod_status_timeout))
        settings, clock = self.settings, self._clock
        self.queue = WorkQueue(
            kinds.MODEL_ENDPOINT.kind, retry_base=settings.retry_base, retry_max=settings.retry_max, clock=clock
        )
        self.caches = Caches(
            self.client,
            settings,
            enqueue=self.enqueue,
            lease_changed=self._lease_changed,
            clock=clock,
        )
        self.election = Election(
            self.client,
            self.caches.lease,
            settings,
            elected=self._take_over,
            deposed=self._hand_over,
            clock=clock,
            now=utc_now,
        )
        self.recorder = Recorder(self.client, instance=settings.pod_name, clock=clock, now=utc_now)
        observer = Observer(self.client, self.caches, reader)
        applier = Applier(self.client, self.caches, clock=clock)
        reconcile = Reconciler(
            self.caches.endpoints, observer, applier, self.recorder, settings, clock=clock, now=utc_now
        )
        self.workers = Workers(kinds.MODEL_ENDPOINT.kind, self.queue, reconcile, count=settings.workers)
        return self.client

    async def start(self) -> None:
        """Starts watching, then stands for election: a leader's first look is at complete caches."""
        self.failed = asyncio.get_running_loop().create_future()
        for reflector in self.caches.reflectors:
            self._run(reflector.run(), f"watch {reflector}")
        self._run(self.recorder.run(), "events")
        self._run(self._lead(), "election")
        self._run(self._resync(), "resync")

    async def stop(self) -> None:
        """Ends the work, then gives the Lease up, then the connections: nobody takes over while we still write."""
        await self.workers.stop()
        for task in self._tasks:
            if task.get_name() == "election":
                task.cancel()
        await asyncio.gather(*(task for task in self._tasks if task.get_name() == "election"), return_exceptions=True)
        await self.recorder.flush(FLUSH_SECONDS)
        await self.election.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.disconnect()

    async def disconnect(self) -> None:
        await self._stack.aclose()

    def enqueue(self, key: Key) -> None:
        """Every change that a reflector sees ends here.

        A standby keeps no queue: taking over starts from all keys, and old ones would look like hanging workers.
        """
        if self.election.leading:
            self.queue.add(key)

    def dead(self) -> list[str]:
        """Why this process should be restarted; empty while it need not be."""
        why = self.caches.stale(self.settings.freshness_limit)
        if (age := self.election.heartbeat_age) > self.settings.heartbeat_limit:
            why.append(f"a heartbeat written {age:.0f} s ago has not come back through the watch")
        if self.election.leading and (waited := self.queue.oldest()) > STUCK_SECONDS:
            why.append(f"a key has waited {waited:.0f} s for a worker")
        return why

    def unready(self) -> list[str]:
        """Why this process could not work if it led; a standby is as ready as a leader."""
        return [f"{reflector}: not listed yet" for reflector in self.caches.reflectors if not reflector.synced.is_set()]

    async def _lead(self) -> None:
        await self.caches.wait_until_synced()
        logger.info("caches are synced: %s", ", ".join(f"{len(s)} {r.plural}" for r, s in self.caches.stores.items()))
        await self.election.run()

    async def _take_over(self) -> None:
        self._enqueue_all()
        self.workers.start()

    async def _hand_over(self) -> None:
        await self.workers.stop()
        self.queue.clear()

    def _lease_changed(self, lease: Object) -> None:
        self.election.observe(lease)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self.settings.resync * (0.9 + 0.2 * random.random()))  # noqa: S311 - spreads load
            if self.election.leading:
                self._enqueue_all()

    def _enqueue_all(self) -> None:
        for key in self.caches.endpoints:
            self.queue.add(key, urgent=False)

    def _run(self, coroutine: object, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine, name=name)  # type: ignore[arg-type]
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed is None or self.failed.done():
            return
        logger.critical("%s ended, so the process ends", task.get_name(), exc_info=task.exception())
        self.failed.set_result(None)
