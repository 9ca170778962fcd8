"""The Deployment of an endpoint: how many pods, and how they are replaced."""

from slipway_operator import drift, kinds, labels
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.render.metadata import child
from slipway_operator.model_endpoint.render.pod import pod_spec
from slipway_operator.model_endpoint.spec import Endpoint
from slipway_operator.settings import Settings

PROGRESS_DEADLINE_SECONDS = 1800
"""Half an hour without progress is stuck: a large download within it is not, since faults are told sooner and by
name.
"""


def deployment(endpoint: Endpoint, settings: Settings) -> Object:
    return child(
        endpoint,
        kinds.DEPLOYMENT,
        spec={
            "replicas": endpoint.desired_replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
            "selector": {"matchLabels": labels.selector(endpoint.name)},
            # A new pod is ready before an old one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": pod_template(endpoint, settings),
        },
    )


def pod_template(endpoint: Endpoint, settings: Settings) -> Object:
    """The template with its own digest as an annotation, by which status.py knows the pods of the present spec."""
    template = {
        "metadata": {
            "labels": {**endpoint.pod_template.labels, **labels.of_children(endpoint.name)},
            "annotations": dict(endpoint.pod_template.annotations),
        },
        "spec": pod_spec(endpoint, settings),
    }
    template["metadata"]["annotations"][labels.TEMPLATE] = drift.digest(template)
    return template
