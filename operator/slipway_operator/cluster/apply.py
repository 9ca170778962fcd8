"""Carries a plan out: server-side apply of what differs, deletion of what is no longer rendered."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from slipway_operator import errors, kinds
from slipway_operator.cluster.caches import Caches
from slipway_operator.cluster.client import Client
from slipway_operator.cluster.fights import Fights
from slipway_operator.kinds import Object, resource_of
from slipway_operator.model_endpoint.plan import Apply, Plan

logger = logging.getLogger(__name__)

MANAGER = "slipway"
REPAIR_MANAGER = "slipway-repair"
STATUS_MANAGER = "slipway-status"
"""A manager of its own: status and spec are applied apart and must not drop each other's fields."""


@dataclass(frozen=True)
class Refused:
    """A child that the API server will not have as it is; sending it again changes nothing."""

    child: Object
    error: errors.ApiError


@dataclass(frozen=True)
class Unsettled:
    """A child whose field somebody changes back: in the same request (a mutating webhook) or soon after it."""

    child: Object
    path: str


@dataclass(frozen=True)
class Outcome:
    applied: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    unsettled: tuple[Unsettled, ...] = ()
    """Those of this pass; the ones known from before are passed over."""
    passed_over: bool = False


class Applier:
    def __init__(self, client: Client, caches: Caches, *, clock: Callable[[], float]) -> None:
        self._client = client
        self._caches = caches
        self._fights = Fights(clock)

    async def execute(self, plan: Plan) -> Outcome:
        """One child after the other, in the plan's order. A refusal of one does not stop the others; errors that may
        pass by themselves are raised, and the key comes back with backoff."""
        applied: list[str] = []
        refused: list[Refused] = []
        unsettled: list[Unsettled] = []
        passed_over = False
        for step in plan.applies:
            live = self._caches.stores[resource_of(step.child)].get(kinds.key_of(step.child))
            if live is not None and self._fights.hopeless(step.child, live):
                passed_over = True
                continue
            try:
                left = await self._apply(step)
            except (errors.Invalid, errors.Forbidden) as error:
                refused.append(Refused(step.child, error))
                continue
            applied.append(step.child["kind"])
            if left is not None:
                unsettled.append(left)
        for obj in plan.deletes:
            await self._delete(obj)
        return Outcome(tuple(applied), tuple(refused), tuple(unsettled), passed_over)

    async def apply_status(self, endpoint: Object, status: Object) -> Object:
        """Replaces the whole status that this manager wrote before.

        Returns the live object, and keeps it in the cache.
        """
        metadata = endpoint["metadata"]
        obj = {
            "apiVersion": kinds.MODEL_ENDPOINT.api_version,
            "kind": kinds.MODEL_ENDPOINT.kind,
            # With the uid, the status of a deleted endpoint cannot land on one that took its name.
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "status": status,
        }
        live = await self._client.apply(kinds.MODEL_ENDPOINT, obj, manager=STATUS_MANAGER, subresource="status")
        self._caches.endpoints.put(live)
        return live

    async def _apply(self, step: Apply) -> Unsettled | None:
        child, resource = step.child, resource_of(step.child)
        before = self._caches.stores[resource].get(kinds.key_of(child))
        try:
            live = await self._client.apply(resource, child, manager=MANAGER)
        except errors.Invalid:
            if before is None or "spec" not in child:
                raise
            live = await self._restore(child, before)
        self._caches.stores[resource].put(live)
        logger.info("applied %s %s: %s", child["kind"], kinds.key_of(child), step.why)
        path = self._fights.applied(child, before, live)
        return None if path is None else Unsettled(child, path)

    async def _restore(self, child: Object, before: Object) -> Object:
        """Undoes a change that apply cannot: a renamed key of a list (port 80 made 81) or another member of a union (an
        emptyDir made a hostPath). Apply would keep the stranger's beside ours, and the API server refuses both.

        A merge patch replaces whole lists. The ownership that it leaves is dropped again: a field that it held would
        stay for ever once it is no longer rendered. Raises errors.Invalid when it is the spec that is refused.
        """
        resource, key = resource_of(child), kinds.key_of(child)
        metadata = {"uid": before["metadata"]["uid"]}
        patch = {"metadata": metadata, "spec": child["spec"]}
        live = await self._client.merge(resource, *key, patch, manager=REPAIR_MANAGER)
        held = [entry for entry in live["metadata"]["managedFields"] if entry["manager"] != REPAIR_MANAGER]
        patch = {
            "metadata": {**metadata, "resourceVersion": live["metadata"]["resourceVersion"], "managedFields": held}
        }
        await self._client.merge(resource, *key, patch, manager=REPAIR_MANAGER)
        return await self._client.apply(resource, child, manager=MANAGER)

    async def _delete(self, obj: Object) -> None:
        try:
            await self._client.delete(resource_of(obj), obj)
            logger.info("deleted %s %s: it is no longer needed", obj["kind"], kinds.key_of(obj))
        except (errors.NotFound, errors.Conflict):
            return
