"""All caches of the operator and the reflectors that fill them."""

import asyncio
from collections.abc import Callable

from slipway_operator import kinds, labels
from slipway_operator.cluster.client import Client
from slipway_operator.cluster.reflector import Reflector
from slipway_operator.cluster.store import Store
from slipway_operator.kinds import Key, Object, Resource
from slipway_operator.settings import Settings

WATCHED = (kinds.MODEL_ENDPOINT, *kinds.ENDPOINT_CHILDREN, kinds.POD)


class Caches:
    """One Store per kind, one Reflector per kind and watched namespace, and one for the operator's own Lease."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        *,
        enqueue: Callable[[Key], None],
        lease_changed: Callable[[Object], None],
        clock: Callable[[], float],
    ) -> None:
        self.stores = {resource: Store(resource) for resource in WATCHED}
        self.lease = Store(kinds.LEASE)

        def reflector(
            store: Store, namespace: str | None, changed: Callable[[Object], None], selectors: dict[str, str]
        ) -> Reflector:
            return Reflector(
                client,
                store,
                namespace=namespace,
                changed=changed,
                silence=settings.watch_silence,
                missing_poll=settings.missing_kind_poll,
                clock=clock,
                selectors=selectors,
            )

        def child_changed(obj: Object) -> None:
            # By label for pods, whose controller is a ReplicaSet; by controller for a child whose label was edited.
            for endpoint in {labels.endpoint_of(obj), _controlling_endpoint(obj)} - {None}:
                enqueue(Key(obj["metadata"]["namespace"], endpoint or ""))

        def endpoint_changed(obj: Object) -> None:
            enqueue(kinds.key_of(obj))

        def watching(resource: Resource, namespace: str | None) -> Reflector:
            if resource == kinds.MODEL_ENDPOINT:
                return reflector(self.stores[resource], namespace, endpoint_changed, {})
            return reflector(
                self.stores[resource], namespace, child_changed, {"labelSelector": labels.MANAGED_SELECTOR}
            )

        namespaces: tuple[str | None, ...] = settings.watch_namespaces or (None,)
        lease_only = {"fieldSelector": f"metadata.name={settings.lease_name}"}
        self.reflectors = [watching(resource, namespace) for resource in WATCHED for namespace in namespaces]
        self.reflectors.append(reflector(self.lease, settings.namespace, lease_changed, lease_only))

    @property
    def endpoints(self) -> Store:
        return self.stores[kinds.MODEL_ENDPOINT]

    @property
    def synced(self) -> bool:
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    async def wait_until_synced(self) -> None:
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))

    def stale(self, limit: float) -> list[str]:
        """The watches that have been silent for more than `limit` seconds, in words."""
        return [
            f"{reflector}: silent for {reflector.age:.0f} s" for reflector in self.reflectors if reflector.age > limit
        ]


def _controlling_endpoint(obj: Object) -> str | None:
    controller = kinds.controller_of(obj)
    if controller is None or controller["kind"] != kinds.MODEL_ENDPOINT.kind:
        return None
    name: str = controller["name"]
    return name
