"""Kubernetes Events about our objects, deduplicated: the same words within ten minutes raise a count instead of
adding an Event.
"""

import asyncio
import datetime
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from slipway_operator import errors, kinds, metrics
from slipway_operator.cluster.client import Client
from slipway_operator.kinds import Object

logger = logging.getLogger(__name__)

WINDOW = 600.0
REMEMBERED = 4096
QUEUED = 1000
"""Events that wait to be written; more are dropped and counted, never waited for."""
MESSAGE_LIMIT = 1024
"""The API server refuses longer ones."""
COMPONENT = "slipway-operator"


@dataclass
class _Series:
    name: str
    first: str
    count: int
    seen: float


class Recorder:
    """emit() returns at once; run() writes. Losing an Event loses no truth: conditions hold it."""

    def __init__(
        self, client: Client, *, instance: str, clock: Callable[[], float], now: Callable[[], datetime.datetime]
    ) -> None:
        self._client = client
        self._instance = instance
        self._clock = clock
        self._now = now
        self._queue: asyncio.Queue[tuple[Object, str, str, bool]] = asyncio.Queue(QUEUED)
        self._series: OrderedDict[str, _Series] = OrderedDict()

    def emit(self, about: Object, reason: str, message: str, *, warning: bool = False) -> None:
        try:
            self._queue.put_nowait((about, reason, message[:MESSAGE_LIMIT], warning))
        except asyncio.QueueFull:
            metrics.EVENTS_DROPPED.inc()

    async def run(self) -> None:
        while True:
            about, reason, message, warning = await self._queue.get()
            try:
                await self._write(about, reason, message, warning)
            except errors.ClusterError as error:
                metrics.EVENTS_DROPPED.inc()
                logger.log(
                    # A namespace that is going away admits no Events; nobody is left to read them.
                    logging.DEBUG if isinstance(error, (errors.Forbidden, errors.NotFound)) else logging.INFO,
                    "an Event was not written: %s",
                    error,
                )
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Waits for what was emitted to be written, `seconds` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            logger.info("%d Events were not written before the process ended", self._queue.qsize())

    async def _write(self, about: Object, reason: str, message: str, warning: bool) -> None:
        metadata = about["metadata"]
        identity = hashlib.sha256("\0".join((metadata["uid"], reason, message)).encode()).hexdigest()[:16]
        stamp = self._now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        series = self._series.get(identity)
        if series is not None and self._clock() - series.seen < WINDOW:
            series.count += 1
            series.seen = self._clock()
            patch = {"count": series.count, "lastTimestamp": stamp}
            try:
                await self._client.merge(kinds.EVENT, metadata["namespace"], series.name, patch)
                return
            except errors.NotFound:
                pass  # The API server has let it expire: written anew below.
        series = _Series(f"{metadata['name']}.{identity}.{int(self._clock() * 1000):x}", stamp, 1, self._clock())
        self._series[identity] = series
        if len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
        await self._client.create(kinds.EVENT, self._event(about, series, reason, message, warning))

    def _event(self, about: Object, series: _Series, reason: str, message: str, warning: bool) -> Object:
        metadata = about["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "count": 1,
            "firstTimestamp": series.first,
            "lastTimestamp": series.first,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }
