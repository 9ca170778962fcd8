"""A cache of the objects of one kind: what the watch said last, and what our own writes returned since."""

from collections.abc import Iterable, Iterator

from slipway_operator import labels, metrics
from slipway_operator.kinds import Key, Object, Resource, key_of

TOMBSTONES = 10_000
"""Deleted keys that are remembered, so that a late answer to a write cannot bring an object back."""


class Store:
    """Objects by key, and by the endpoint that their label names.

    Versions are compared as numbers, which Kubernetes promises for resourceVersion since 1.35 (KEP-5504) and etcd has
    always given: an event that is older than the answer to our own write is passed over.
    """

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self._objects: dict[Key, Object] = {}
        self._by_endpoint: dict[Key, set[Key]] = {}
        self._deleted: dict[Key, int] = {}
        self._gauge = metrics.CACHED.labels(resource.plural)

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._objects))

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def of_endpoint(self, endpoint: Key) -> list[Object]:
        return [self._objects[key] for key in self._by_endpoint.get(endpoint, ())]

    def put(self, obj: Object) -> bool:
        """Takes in an object; False when what is held, or its deletion, is as new."""
        key, version = key_of(obj), _version(obj)
        held = self._objects.get(key)
        if self._deleted.get(key, -1) >= version:
            return False
        if held is not None and _version(held) >= version:
            return False
        # A third of an object's size, and nobody reads it: drift is told otherwise (decisions/0004).
        obj["metadata"].pop("managedFields", None)
        self._drop(key)
        self._objects[key] = obj
        if (endpoint := labels.endpoint_of(obj)) is not None:
            self._by_endpoint.setdefault(Key(key.namespace, endpoint), set()).add(key)
        self._gauge.set(len(self._objects))
        return True

    def remove(self, obj: Object) -> bool:
        """Takes out a deleted object, unless its name was taken anew meanwhile."""
        key, version = key_of(obj), _version(obj)
        self._deleted[key] = max(version, self._deleted.get(key, -1))
        if len(self._deleted) > TOMBSTONES:
            self._deleted.pop(next(iter(self._deleted)))
        held = self._objects.get(key)
        if held is None or _version(held) > version:
            return False
        self._drop(key)
        self._gauge.set(len(self._objects))
        return True

    def replace(self, objects: Iterable[Object], version: int) -> set[Key]:
        """Takes in a whole list, as of `version`; returns the keys that changed, those that vanished unseen
        included.
        """
        listed = {key_of(obj): obj for obj in objects}
        changed = {key for key, obj in listed.items() if self.put(obj)}
        for key in self:
            if key not in listed and _version(self._objects[key]) <= version:
                self._drop(key)
                changed.add(key)
        self._gauge.set(len(self._objects))
        return changed

    def clear(self) -> set[Key]:
        """Forgets everything: the kind itself is gone."""
        keys = set(self._objects)
        self._objects.clear()
        self._by_endpoint.clear()
        self._gauge.set(0)
        return keys

    def _drop(self, key: Key) -> None:
        held = self._objects.pop(key, None)
        if held is None or (endpoint := labels.endpoint_of(held)) is None:
            return
        siblings = self._by_endpoint[Key(key.namespace, endpoint)]
        siblings.discard(key)
        if not siblings:
            del self._by_endpoint[Key(key.namespace, endpoint)]


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
