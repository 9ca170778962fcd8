"""metav1.Condition as kstatus reads it: lastTransitionTime moves only when the status does."""

from collections.abc import Iterable
from dataclasses import dataclass

from slipway_operator.kinds import Object

MESSAGE_LIMIT = 32768
"""The CRD's, and metav1.Condition's, maxLength."""


@dataclass(frozen=True)
class Condition:
    type: str
    status: bool
    reason: str
    message: str


def render(wanted: Iterable[Condition], previous: list[Object], generation: int, now: str) -> list[Object]:
    """The conditions as JSON, sorted by type; `now` is RFC 3339 and used only for those whose status changed."""
    before = {condition["type"]: condition for condition in previous}
    return [
        _render(condition, before.get(condition.type), generation, now)
        for condition in sorted(wanted, key=lambda c: c.type)
    ]


def _render(condition: Condition, before: Object | None, generation: int, now: str) -> Object:
    status = "True" if condition.status else "False"
    unchanged = before is not None and before.get("status") == status
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": condition.message[:MESSAGE_LIMIT],
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and unchanged else now,
    }


def find(conditions: list[Object], kind: str) -> Object | None:
    return next((condition for condition in conditions if condition["type"] == kind), None)
