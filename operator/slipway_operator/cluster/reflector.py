"""Keeps a Store equal to the API server: list, watch, bookmarks, and a list anew with a deletion diff.

Never ends by itself: an API server that is away, a kind whose CRD is missing, a watch that goes silent are all waited
out (reference/kopf.md section 1 has what ends kopf's watches instead).
"""

import asyncio
import logging
import random
from collections.abc import Callable

from slipway_operator import errors, metrics
from slipway_operator.cluster.client import LIST_PAGE, Client
from slipway_operator.cluster.store import Store
from slipway_operator.kinds import Key, Object, Resource

logger = logging.getLogger(__name__)

SERVER_TIMEOUT = 290
"""Seconds after which the API server is asked to end a watch: spreads load over its replicas after a restart."""
RETRY_MAX = 15.0
SHORTEST = 1.0
"""A watch that lasts less is counted as a failure and comes back with backoff, or it would be opened in a busy loop."""


class Reflector:
    """One kind, in one namespace or (None) all of them. `changed` is called with the object's last known state."""

    def __init__(
        self,
        client: Client,
        store: Store,
        *,
        namespace: str | None,
        changed: Callable[[Object], None],
        silence: float,
        missing_poll: float,
        clock: Callable[[], float],
        selectors: dict[str, str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.resource: Resource = store.resource
        self.store = store
        self.synced = asyncio.Event()
        """Set after the first list, or once it is known that the kind is not there."""
        self.missing = False
        """The kind's CRD is not installed."""
        self._client = client
        self._namespace = namespace
        self._changed = changed
        self._silence = silence
        self._missing_poll = missing_poll
        self._clock = clock
        self._selectors = selectors or {}
        self._jitter = jitter
        self._seen = clock()

    def __str__(self) -> str:
        return f"{self.resource.plural} in {self._namespace or 'all namespaces'}"

    @property
    def age(self) -> float:
        """Seconds since the API server last said anything about this kind."""
        return self._clock() - self._seen

    async def run(self) -> None:
        """Runs until cancelled."""
        failures = 0
        version: int | None = None
        while True:
            try:
                if version is None:
                    version = await self._list()
                    failures = 0
                version = await self._watch(version)
                failures = 0
            except errors.Gone:
                self._restarted("gone")
                version = None
            except errors.NotFound:
                self._vanish()
                version = None
                await asyncio.sleep(self._missing_poll)
            except errors.ClusterError as error:
                self._restarted("error")
                failures += 1
                delay = self._delay(failures, error)
                logger.log(
                    logging.WARNING if failures > 1 else logging.INFO,
                    "watching %s: %s; again in %.1f s",
                    self,
                    error,
                    delay,
                )
                await asyncio.sleep(delay)

    async def _list(self) -> int:
        """Pages through the collection, then swaps it in: a half-read list must not look like deletions."""
        items: list[Object] = []
        params = {"limit": str(LIST_PAGE), **self._selectors}
        while True:
            page = await self._client.list(self.resource, self._namespace, **params)
            items += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                break
            params["continue"] = token
        for item in items:
            # Items of a list come without kind and apiVersion.
            item.setdefault("kind", self.resource.kind)
            item.setdefault("apiVersion", self.resource.api_version)
        version = int(page["metadata"]["resourceVersion"])
        before = {key: self.store.get(key) for key in self.store}
        self._fresh()
        changed = self.store.replace(items, version) if self._namespace is None else self._replace_own(items, version)
        if self.missing:
            logger.info("%s: the kind is there now", self)
        self.missing = False
        self.synced.set()
        for key in changed:
            self._tell(self.store.get(key) or before.get(key))
        return version

    def _replace_own(self, items: list[Object], version: int) -> set[Key]:
        """Several namespaces share a store: only this one's objects may be missing from this list."""
        others = [obj for key in self.store if key.namespace != self._namespace and (obj := self.store.get(key))]
        return self.store.replace([*items, *others], version)

    async def _watch(self, version: int) -> int:
        """Follows one watch to its end; returns the version to go on from."""
        params = {"resourceVersion": str(version), "timeoutSeconds": str(SERVER_TIMEOUT), **self._selectors}
        opened = self._clock()
        async with self._client.watch(self.resource, self._namespace, **params) as events:
            while True:
                try:
                    # Not wait_for(): before Python 3.12 it loses a cancellation that meets an event.
                    async with asyncio.timeout(self._silence):
                        event = await anext(events, None)
                except TimeoutError:
                    self._restarted("silent")
                    return version
                if event is None:
                    self._restarted("expired")
                    if self._clock() - opened < SHORTEST:
                        raise errors.Unreachable("the watch ended as soon as it was opened")
                    return version
                self._fresh()
                version = self._take(event)

    def _take(self, event: Object) -> int:
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise errors.ApiError.by_status.get(obj.get("code", 500), errors.ApiError)(
                obj.get("code", 500), obj.get("reason", "Unknown"), str(obj.get("message", ""))[: errors.MESSAGE_LIMIT]
            )
        if kind == "DELETED":
            self.store.remove(obj)
            self._tell(obj)
        elif kind != "BOOKMARK" and self.store.put(obj):
            self._tell(obj)
        return int(obj["metadata"]["resourceVersion"])

    def _vanish(self) -> None:
        if not self.missing:
            logger.warning(
                "%s: the API server does not know this kind; looking again every %.0f s", self, self._missing_poll
            )
        self.missing = True
        self.store.clear()
        self._fresh()
        self.synced.set()

    def _tell(self, obj: Object | None) -> None:
        if obj is not None:
            self._changed(obj)

    def _fresh(self) -> None:
        self._seen = self._clock()

    def _restarted(self, cause: str) -> None:
        metrics.WATCH_RESTARTS.labels(self.resource.plural, cause).inc()

    def _delay(self, failures: int, error: errors.ClusterError) -> float:
        if isinstance(error, errors.TooManyRequests) and error.retry_after is not None:
            return error.retry_after
        # Grown from a quarter of a second, so that a restart of the API server is noticed as soon as it is over.
        return float(min(RETRY_MAX, 0.25 * 2 ** min(failures, 10)) * (0.5 + self._jitter() / 2))
