"""The resources that the operator reads and writes, and where the API server has them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

Object = dict[str, Any]
"""A Kubernetes object as JSON. Only spec.py, drift.py and the accessors of model_endpoint/pods.py look inside."""


class Key(NamedTuple):
    """What the queue, the caches and the logs call an object by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Resource:
    """A kind as the API server's paths know it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """`/apis/apps/v1/namespaces/NS/deployments/NAME/status`; without a namespace the whole cluster's collection."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


MODEL_ENDPOINT = Resource("slipway.dev", "v1alpha1", "modelendpoints", "ModelEndpoint")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
SERVICE = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
POD_DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
POD = Resource("", "v1", "pods", "Pod")
EVENT = Resource("", "v1", "events", "Event")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
CUSTOM_RESOURCE_DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"
)

ENDPOINT_CHILDREN = (SERVICE_ACCOUNT, SERVICE, DEPLOYMENT, POD_DISRUPTION_BUDGET)
"""What a ModelEndpoint renders, in the order of applying: the Deployment needs the ServiceAccount."""

BY_KIND = {resource.kind: resource for resource in ENDPOINT_CHILDREN}


def resource_of(obj: Object) -> Resource:
    return BY_KIND[obj["kind"]]


def key_of(obj: Object) -> Key:
    return Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def controller_of(obj: Object) -> Object | None:
    """The owner reference that controls an object, if one does."""
    owners: list[Object] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)
