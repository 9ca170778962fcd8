"""Labels and annotations that the operator writes. Why: decisions/0001-names-and-labels.md and 0004-drift.md."""

from slipway_operator.kinds import Object

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "slipway"
MANAGED_SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""Server-side selector of every watch on children."""

ENDPOINT = "slipway.dev/endpoint"
"""The one selector label of a ModelEndpoint's Deployment and Service; immutable."""

RENDERED = "slipway.dev/rendered"
"""Annotation: digest of the object as it was rendered. Tells of fields that are no longer rendered."""

TEMPLATE = "slipway.dev/template"
"""Annotation of pods: digest of the rendered pod template.

Tells the pods of the present spec from those of an earlier one.
"""


def selector(endpoint: str) -> dict[str, str]:
    return {ENDPOINT: endpoint}


def of_children(endpoint: str) -> dict[str, str]:
    return {
        ENDPOINT: endpoint,
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/name": "model-endpoint",
        "app.kubernetes.io/instance": endpoint,
        "app.kubernetes.io/component": "serve",
    }


def endpoint_of(obj: Object) -> str | None:
    """The endpoint that a child says it belongs to; whether it does is for its controller reference to say."""
    endpoint: str | None = (obj["metadata"].get("labels") or {}).get(ENDPOINT)
    return endpoint
