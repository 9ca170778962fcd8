"""Leader election on a Lease, and the heartbeat that proves the watch.

Own code because kubernetes.aio's (read and measured: decisions/0007-election.md) judges deadlines by the wall clock,
reads the Lease with typed models, never releases it, and has its own request path. Here the Lease is seen through a
reflector like every other object, durations are measured by the monotonic clock from when *we* saw a change, and a
write carries the resourceVersion that it was decided on, so two candidates cannot both succeed.

The renewals are the heartbeat as well: a write that the watch has not brought back within `heartbeat_limit` proves
that the watch is dead, whatever its socket says.
"""

import asyncio
import datetime
import logging
import random
from collections.abc import Awaitable, Callable

from slipway_operator import errors, kinds, metrics
from slipway_operator.cluster.client import Client
from slipway_operator.cluster.store import Store
from slipway_operator.kinds import Key, Object
from slipway_operator.settings import Settings

logger = logging.getLogger(__name__)

RETRIES = 5
"""A failed renewal is tried again after this part of the interval."""


class Election:
    """Stands for election until cancelled; calls `elected` and `deposed`, never two of them at once."""

    def __init__(
        self,
        client: Client,
        store: Store,
        settings: Settings,
        *,
        elected: Callable[[], Awaitable[None]],
        deposed: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        now: Callable[[], datetime.datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.leading = False
        self._client = client
        self._store = store
        self._settings = settings
        self._key = Key(settings.namespace, settings.lease_name)
        self._elected = elected
        self._deposed = deposed
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._changed_at = clock()
        self._renewed_at = clock()
        self._failed = False
        """The last renewal failed: the next is tried sooner."""
        self._unseen: tuple[int, float] | None = None
        self._seen_version = -1
        self._written: Object | None = None
        self._wake = asyncio.Event()

    @property
    def holder(self) -> str:
        """Who leads, as far as the watch has told; empty when nobody does."""
        lease = self._current()
        holder: str = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
        return holder

    @property
    def heartbeat_age(self) -> float:
        """Seconds that a written heartbeat has been waiting to come back; 0 when none is due."""
        return 0.0 if self._unseen is None else self._clock() - self._unseen[1]

    def observe(self, lease: Object) -> None:
        """To be called by the reflector with every event of the Lease."""
        self._seen_version = _version(lease)
        self._changed_at = self._clock()
        if self._unseen is not None and self._seen_version >= self._unseen[0]:
            self._unseen = None
        if not self.leading and not self.holder:
            self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled; ends leading, but keeps the Lease: release() gives it up."""
        try:
            while True:
                if self.leading:
                    await self._renew()
                elif self._expires_in() <= 0:
                    await self._acquire()
                await self._pause(self._until_next())
        finally:
            if self.leading:
                await self._step_down("the process ends")

    async def release(self) -> None:
        """Gives the Lease up, so that a standby need not wait for it to expire.

        To be called when the work has stopped.
        """
        lease = self._current()
        if lease is None or lease["spec"].get("holderIdentity") != self._settings.pod_name:
            return
        try:
            await self._write(
                {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._time()}
            )
        except errors.ClusterError as error:
            logger.info("the Lease was not released, a standby takes over when it expires: %s", error)

    def _expires_in(self) -> float:
        """Seconds until this process may take the Lease, by our own clock since *we* saw it change; 0 if it is free."""
        lease = self._current()
        if lease is None or not self.holder or self.holder == self._settings.pod_name:
            return 0.0
        duration = float(lease["spec"].get("leaseDurationSeconds") or self._settings.lease_duration)
        return max(0.0, self._changed_at + duration - self._clock())

    def _lead_left(self) -> float:
        """Seconds that this process may still lead without another renewal."""
        return max(0.0, self._renewed_at + self._settings.lease_deadline - self._clock())

    def _until_next(self) -> float:
        """The renewal interval; less where a failed renewal or another's Lease runs out before it does."""
        interval = self._settings.lease_renew * (0.9 + 0.2 * self._jitter())
        if self.leading:
            return min(interval, self._lead_left(), *((interval / RETRIES,) if self._failed else ()))
        # A jitter of its own, so that several standbys do not all write at the same moment.
        left = self._expires_in()
        return min(interval, left * (1 + 0.02 * self._jitter())) if left else interval

    async def _acquire(self) -> None:
        lease = self._current()
        transitions = 0 if lease is None else int(lease["spec"].get("leaseTransitions") or 0) + 1
        spec = {
            "holderIdentity": self._settings.pod_name,
            "leaseDurationSeconds": int(self._settings.lease_duration),
            "acquireTime": self._time(),
            "renewTime": self._time(),
            "leaseTransitions": transitions,
        }
        started = self._clock()
        try:
            async with asyncio.timeout(self._settings.lease_deadline):
                await self._write(spec)
        except errors.Conflict:
            # Somebody was faster, or our watch is behind: either way a newer version must come.
            self._await(self._seen_version + 1)
            return
        except (errors.ClusterError, TimeoutError) as error:
            logger.warning("standing for election: %s", str(error) or "no answer")
            return
        self.leading, self._failed, self._renewed_at = True, False, started
        metrics.LEADER.labels(self._settings.lease_name).set(1)
        logger.info("%s leads", self._settings.pod_name)
        await self._elected()

    async def _renew(self) -> None:
        lease = self._current()
        if self.holder != self._settings.pod_name or lease is None:
            await self._step_down(f"the Lease is held by {self.holder or 'nobody'}")
            return
        # From before the request: the standbys' time runs from when the server took it, which is later.
        started = self._clock()
        try:
            # A request that hangs must not make us lead beyond the deadline.
            async with asyncio.timeout(self._lead_left()):
                await self._write({**lease["spec"], "renewTime": self._time()})
            self._failed, self._renewed_at = False, started
        except (errors.ClusterError, TimeoutError) as error:
            if isinstance(error, errors.Conflict):
                self._await(self._seen_version + 1)
            self._failed = True
            silent = self._clock() - self._renewed_at
            logger.warning("the Lease could not be renewed for %.0f s: %s", silent, str(error) or "no answer")
            if self._lead_left() <= 0:
                await self._step_down("the Lease could not be renewed in time")

    async def _step_down(self, why: str) -> None:
        self.leading = False
        metrics.LEADER.labels(self._settings.lease_name).set(0)
        logger.warning("%s leads no longer: %s", self._settings.pod_name, why)
        await self._deposed()

    async def _write(self, spec: Object) -> None:
        """Writes the Lease on the condition that it is still as we know it."""
        lease = self._current()
        if lease is None:
            metadata = {"name": self._key.name, "namespace": self._key.namespace}
            obj = {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.kind, "metadata": metadata, "spec": spec}
            written = await self._client.create(kinds.LEASE, obj)
        else:
            patch = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
            written = await self._client.merge(kinds.LEASE, *self._key, patch)
        self._written = written
        self._await(_version(written))

    def _current(self) -> Object | None:
        """The newer of what we wrote and what the watch brought. Not written through into the cache as other objects
        are: the heartbeat is proved by the event that brings our own write back."""
        seen = self._store.get(self._key)
        if self._written is None or self._seen_version >= _version(self._written):
            return seen
        return self._written

    def _await(self, version: int) -> None:
        if self._unseen is None and version > self._seen_version:
            self._unseen = (version, self._clock())

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _time(self) -> str:
        return self._now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
