"""Gathers what the cluster holds of one endpoint: from the caches, and by asking only where the caches cannot tell."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping

from slipway_operator import errors, kinds
from slipway_operator.cluster.caches import Caches
from slipway_operator.cluster.client import Client
from slipway_operator.cluster.pods import PodReader
from slipway_operator.kinds import Key, Object, Resource
from slipway_operator.model_endpoint import pod as pods
from slipway_operator.model_endpoint.observed import Observed
from slipway_operator.model_endpoint.pod import Pod
from slipway_operator.model_endpoint.spec import Endpoint

EVENTS_READ = 50
BEFORE_START = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox"})
"""The kubelet's reasons for a container that it does not even try to make. FailedScheduling is not among them: the
pod's own condition tells it, and outlives its truth as an Event."""


class Observer:
    def __init__(self, client: Client, caches: Caches, reader: PodReader) -> None:
        self._client = client
        self._caches = caches
        self._reader = reader

    async def observe(self, endpoint: Endpoint, rendered: Iterable[Object], *, model_known: bool) -> Observed:
        """Everything that plan and status need.

        Asks pods that are not ready, and ready ones while what they serve is not known.
        """
        own = [
            pods.parse(obj)
            for obj in self._caches.stores[kinds.POD].of_endpoint(endpoint.key)
            if pods.holds_compute(obj) and pods.made_for(endpoint.name, obj)
        ]
        own.sort(key=lambda pod: (pod.created, pod.name), reverse=True)
        curious = [pod for pod in own if not pod.terminating and (not pod.ready or not model_known)]
        children, reports, events = await asyncio.gather(
            self._children(endpoint.key, rendered),
            self._reader.reports(curious),
            self._warnings(endpoint.namespace, own),
        )
        return Observed(uid=endpoint.uid, children=children, pods=tuple(own), reports=reports, events=events)

    async def _children(self, key: Key, rendered: Iterable[Object]) -> dict[str, Object]:
        children = {
            resource.kind: obj
            for resource in kinds.ENDPOINT_CHILDREN
            if (obj := self._caches.stores[resource].get(key)) is not None
        }
        absent = [kinds.resource_of(child) for child in rendered if child["kind"] not in children]
        found = await asyncio.gather(*(self._look_up(resource, key) for resource in absent))
        children.update({obj["kind"]: obj for obj in found if obj is not None})
        return children

    async def _look_up(self, resource: Resource, key: Key) -> Object | None:
        """A child that the cache lacks may be a stranger's: the watch sees only objects with our label.

        A list by name, because `list` is a right that the watch needs anyway, and `get` would be one more.
        """
        answer = await self._client.list(resource, key.namespace, fieldSelector=f"metadata.name={key.name}")
        for obj in answer["items"]:
            return {**obj, "kind": resource.kind, "apiVersion": resource.api_version}
        return None

    async def _warnings(self, namespace: str, own: Iterable[Pod]) -> Mapping[str, tuple[str, ...]]:
        """Warnings about pods that are stuck before their container exists: their reason is told nowhere else."""
        stuck = [pod for pod in own if pod.stuck_before_start]
        answers = await asyncio.gather(*(self._events(namespace, pod) for pod in stuck))
        return {pod.name: found for pod, found in zip(stuck, answers, strict=True) if found}

    async def _events(self, namespace: str, pod: Pod) -> tuple[str, ...]:
        selector = f"involvedObject.uid={pod.uid}"
        try:
            answer = await self._client.list(kinds.EVENT, namespace, fieldSelector=selector, limit=str(EVENTS_READ))
        except errors.ClusterError:
            return ()
        found = sorted(answer["items"], key=_last_seen, reverse=True)
        # A kubelet that pulls the image has mounted everything: warnings from before that are history.
        recent = itertools.takewhile(lambda event: event.get("reason") not in ("Pulling", "Pulled"), found)
        return tuple(event.get("message", "") for event in recent if event.get("reason") in BEFORE_START)


def _last_seen(event: Object) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or ""
