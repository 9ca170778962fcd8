"""Which Events a change of status is worth: one for each change of what Ready says, with the same words."""

from typing import NamedTuple

from slipway_operator import conditions
from slipway_operator.kinds import Object


class Announcement(NamedTuple):
    reason: str
    message: str
    warning: bool


QUIET = frozenset({"PodsStarting", "RollingOut", "Pausing"})
"""States on the way; their beginning and end are announced by what caused and what ends them."""


def announcements(previous: Object, status: Object) -> list[Announcement]:
    """To be emitted after `status` was written over `previous`."""
    before = conditions.find(previous.get("conditions", []), "Ready") or {}
    ready = conditions.find(status["conditions"], "Ready")
    if ready is None or ready["reason"] in QUIET:
        return []
    if (before.get("status"), before.get("reason")) == (ready["status"], ready["reason"]):
        return []
    return [Announcement(ready["reason"], ready["message"], warning=ready["status"] != "True")]
