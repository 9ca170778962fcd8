"""An identity without a token: pods of an endpoint have no business with the API server."""

from slipway_operator import kinds
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.render.metadata import child
from slipway_operator.model_endpoint.spec import Endpoint


def service_account(endpoint: Endpoint) -> Object:
    return {**child(endpoint, kinds.SERVICE_ACCOUNT), "automountServiceAccountToken": False}
