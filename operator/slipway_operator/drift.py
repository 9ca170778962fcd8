"""Does a live object still hold what we rendered? (decisions/0004-drift.md)

Pure, and the same for every kind: only fields that we render are compared, as the API server would read them.
"""

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
from kubernetes.utils.quantity import parse_quantity

from slipway_operator import labels
from slipway_operator.kinds import Object

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    # Lists that server-side apply merges by key: others may add items to them.
    # Source: x-kubernetes-list-map-keys of these fields in the API server's OpenAPI document.
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ports": ("containerPort", "port", "protocol"),  # of a container or a Service; the other's number is absent in both
}
QUANTITY_MAPS = frozenset({"limits", "requests"})
ATOMIC_MAPS = frozenset({"selector", "matchLabels", "nodeSelector"})
"""Maps that are one value to Kubernetes: a stranger's key in a Service's selector sends its traffic nowhere."""


def digest(value: Any) -> str:
    """16 hex digits that are equal for equal JSON, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def stamped(rendered: Object) -> Object:
    """The rendered object with its own digest as an annotation: what is sent, and what the next comparison reads."""
    metadata = rendered["metadata"]
    annotations = {**metadata.get("annotations", {}), labels.RENDERED: digest(rendered)}
    return {**rendered, "metadata": {**metadata, "annotations": annotations}}


def difference(wanted: Object, live: Object) -> str | None:
    """The path of the first field of `wanted` (stamped) that `live` does not hold, or None.

    Tells a reader of the log why an object was applied: `spec.template.spec.containers[serve].image`.
    """
    return next(differences(wanted, live), None)


def differences(wanted: Object, live: Object) -> Iterator[str]:
    """The paths of all fields of `wanted` (stamped) that `live` does not hold."""
    return _differs(wanted, live, "", "")


def _differs(wanted: Any, live: Any, path: str, field: str) -> Iterator[str]:
    if isinstance(wanted, dict):
        yield from _map_differs(wanted, live, path, field)
    elif isinstance(wanted, list):
        yield from _list_differs(wanted, live, path, field)
    elif not _same(wanted, live):
        yield path


def _map_differs(wanted: dict[str, Any], live: Any, path: str, field: str) -> Iterator[str]:
    if not isinstance(live, dict):
        if live is not None or not _empty(wanted):
            yield path
        return
    for key, value in wanted.items():
        below = f"{path}.{key}" if path else key
        if field in QUANTITY_MAPS:
            if not _same_quantity(value, live.get(key)):
                yield below
        else:
            yield from _differs(value, live.get(key), below, key)
    if field in ATOMIC_MAPS:
        yield from (f"{path}.{key}" for key in live if key not in wanted)


def _list_differs(wanted: list[Any], live: Any, path: str, field: str) -> Iterator[str]:
    if not isinstance(live, list):
        if live is not None or wanted:
            yield path
        return
    if field not in MERGE_KEYS:
        if len(wanted) != len(live):
            yield path
            return
        for index, (item, held) in enumerate(zip(wanted, live, strict=True)):
            yield from _differs(item, held, f"{path}[{index}]", "")
        return
    held_by_key = {_identity(item, field): item for item in live}
    for item in wanted:
        identity = _identity(item, field)
        here = f"{path}[{','.join(str(part) for part in identity if part is not None)}]"
        if identity in held_by_key:
            yield from _differs(item, held_by_key[identity], here, "")
        else:
            yield here


def _identity(item: Object, field: str) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in MERGE_KEYS[field])


def _same(wanted: Any, live: Any) -> bool:
    if live is None:
        return _empty(wanted)
    # A bool is an int to Python, not to Kubernetes.
    return isinstance(wanted, bool) == isinstance(live, bool) and bool(wanted == live)


def _empty(value: Any) -> bool:
    """The API server drops these (`omitempty`); False and 0 are dropped only where they are the default, so they
    are not rendered.
    """
    if isinstance(value, dict):
        return all(_empty(item) for item in value.values())
    return value in (None, "", [])


def _same_quantity(wanted: Any, live: Any) -> bool:
    """`1000m` and `1`, `1024Mi` and `1Gi` are equal: the API server stores the canonical form."""
    if live is None or wanted is None:
        return wanted is live
    try:
        left: Decimal = parse_quantity(wanted)  # type: ignore[no-untyped-call]
        right: Decimal = parse_quantity(live)  # type: ignore[no-untyped-call]
    except ValueError:
        return bool(wanted == live)
    return left == right
