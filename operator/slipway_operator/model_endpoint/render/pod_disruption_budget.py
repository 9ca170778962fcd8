"""With more than one replica, a drain takes one at a time. With one, a budget could only block the drain."""

from slipway_operator import kinds, labels
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.render.metadata import child
from slipway_operator.model_endpoint.spec import Endpoint


def pod_disruption_budget(endpoint: Endpoint) -> Object:
    return child(
        endpoint,
        kinds.POD_DISRUPTION_BUDGET,
        spec={
            "maxUnavailable": 1,
            "selector": {"matchLabels": labels.selector(endpoint.name)},
            # A pod that never became ready protects nothing; without this it blocks the drain that would move it.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )
