"""Objects for tests, valid by default: a test writes down only what it is about."""

from __future__ import annotations

import zlib
from copy import deepcopy
from typing import Any

Object = dict[str, Any]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def endpoint(
    name: str = "emotions",
    *,
    namespace: str | None = None,
    model: Object | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    metadata: Object | None = None,
    **spec: Any,
) -> Object:
    """A ModelEndpoint as a user writes it.

    Other keyword arguments are fields of `spec` (`replicas=2`, `podTemplate={...}`); `model` replaces the default;
    `metadata` adds what only the API server sets (uid, generation, …).
    """
    meta: Object = {"name": name}
    given = {"namespace": namespace, "labels": labels, "annotations": annotations}
    meta |= {key: value for key, value in given.items() if value is not None}
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelEndpoint",
        "metadata": meta | (metadata or {}),
        "spec": deepcopy({"model": {"id": MODEL} if model is None else model} | spec),
    }


def stored(name: str = "emotions", *, namespace: str = "default", generation: int = 1, **changes: Any) -> Object:
    """A ModelEndpoint as the API server returns it: with uid, generation and the CRD's defaults."""
    made = endpoint(name, namespace=namespace, **changes)
    made["metadata"] = {
        "uid": f"00000000-0000-4000-8000-{zlib.crc32(f'{namespace}/{name}'.encode()):012d}",
        "generation": generation,
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-21T09:00:00Z",
    } | made["metadata"]
    made["spec"] = {"replicas": 1, "paused": False} | made["spec"]
    if "tokenSecretRef" in made["spec"]["model"]:
        made["spec"]["model"]["tokenSecretRef"].setdefault("key", "token")
    return made


def condition(kind: str, status: bool = True, reason: str = "AsExpected", message: str = "", **more: Any) -> Object:
    """A condition as it stands in an object's status."""
    return {
        "type": kind,
        "status": "True" if status else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-21T09:00:00Z",
    } | more
