"""What every child's metadata has in common."""

from slipway_operator import kinds, labels
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.spec import Endpoint


def child(endpoint: Endpoint, resource: kinds.Resource, **fields: Object) -> Object:
    """A child of `resource`'s kind: named, labelled and owned by the endpoint.

    Without blockOwnerDeletion: it would need rights on the endpoint's finalizers, and nothing has to wait for a child
    to go.
    """
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": endpoint.name,
            "namespace": endpoint.namespace,
            "labels": labels.of_children(endpoint.name),
            "ownerReferences": [
                {
                    "apiVersion": kinds.MODEL_ENDPOINT.api_version,
                    "kind": kinds.MODEL_ENDPOINT.kind,
                    "name": endpoint.name,
                    "uid": endpoint.uid,
                    "controller": True,
                }
            ],
        },
        **fields,
    }
