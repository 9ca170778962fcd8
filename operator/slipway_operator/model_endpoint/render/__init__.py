"""The children of an endpoint: one pure function per file, all brought together here."""

from slipway_operator.drift import stamped
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.render.deployment import deployment
from slipway_operator.model_endpoint.render.pod_disruption_budget import pod_disruption_budget
from slipway_operator.model_endpoint.render.service import service
from slipway_operator.model_endpoint.render.service_account import service_account
from slipway_operator.model_endpoint.spec import Endpoint
from slipway_operator.settings import Settings


def children(endpoint: Endpoint, settings: Settings) -> list[Object]:
    """Every child that should exist, in the order of applying, each with its digest."""
    rendered = [service_account(endpoint), service(endpoint), deployment(endpoint, settings)]
    if endpoint.replicas > 1:
        rendered.append(pod_disruption_budget(endpoint))
    return [stamped(child) for child in rendered]
