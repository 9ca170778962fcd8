"""What the cluster holds of one endpoint at one moment: the input of plan.py, faults.py and status.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway_operator.contract import RuntimeStatus
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.pod import Pod


@dataclass(frozen=True)
class Observed:
    uid: str
    """Of the endpoint: what it controls carries it."""
    children: Mapping[str, Object] = field(default_factory=dict)
    """Live objects by kind that bear the endpoint's name, strangers' included."""
    pods: tuple[Pod, ...] = ()
    """Pods of the endpoint that still hold compute, newest first."""
    reports: Mapping[str, RuntimeStatus] = field(default_factory=dict)
    """What pods said of themselves, by pod name; only those that were asked and answered."""
    events: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Warnings about stuck pods, by pod name, newest first."""
