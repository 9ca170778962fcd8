"""The stable address of an endpoint. It outlives pauses, so that URLs do."""

from slipway_operator import contract, kinds, labels
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.render.metadata import child
from slipway_operator.model_endpoint.spec import Endpoint


def service(endpoint: Endpoint) -> Object:
    """Port 80 to the API. The admin port is on no Service: metrics and status are not for callers."""
    return child(
        endpoint,
        kinds.SERVICE,
        spec={
            "selector": labels.selector(endpoint.name),
            "ports": [
                {
                    "name": "http",
                    "port": contract.SERVICE_PORT,
                    "targetPort": "http",
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        },
    )
