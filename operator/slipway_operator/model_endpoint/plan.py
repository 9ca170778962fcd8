"""What to do so that the cluster matches: a pure comparison of rendered and live children."""

from dataclasses import dataclass
from typing import NamedTuple

from slipway_operator import drift, kinds
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.observed import Observed


class Apply(NamedTuple):
    """A child to apply, and why, in words for the log."""

    child: Object
    why: str


class NameTaken(NamedTuple):
    """A child whose name belongs to an object that we do not control; `controller` says who does."""

    child: Object
    controller: str


@dataclass(frozen=True)
class Plan:
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Object, ...] = ()
    taken: tuple[NameTaken, ...] = ()


def plan(rendered: list[Object], observed: Observed) -> Plan:
    """Compares `rendered` (stamped) with the live children of the same names, and finds those that are no longer
    rendered.
    """
    applies: list[Apply] = []
    taken: list[NameTaken] = []
    for child in rendered:
        live = observed.children.get(child["kind"])
        if live is None:
            applies.append(Apply(child, "it does not exist"))
        elif _predecessors(live, child):
            # The endpoint was deleted and made anew; the garbage collector's DELETED event brings us back.
            continue
        elif not _ours(live, child):
            taken.append(NameTaken(child, _controller(live)))
        elif live["metadata"].get("deletionTimestamp"):
            # Applying to an object that is going away is lost; its DELETED event brings us back.
            continue
        elif (path := drift.difference(child, live)) is not None:
            applies.append(Apply(child, f"{path} differs"))
    wanted = {child["kind"] for child in rendered}
    deletes = [
        live
        for kind, live in observed.children.items()
        if kind not in wanted and _controls(observed.uid, live) and not live["metadata"].get("deletionTimestamp")
    ]
    return Plan(tuple(applies), tuple(deletes), tuple(taken))


def _ours(live: Object, child: Object) -> bool:
    return _controls(child["metadata"]["ownerReferences"][0]["uid"], live)


def _predecessors(live: Object, child: Object) -> bool:
    """Whether the live object belongs to a deleted endpoint of the same name."""
    owner, controller = child["metadata"]["ownerReferences"][0], kinds.controller_of(live)
    return (
        controller is not None
        and (controller["kind"], controller["name"]) == (owner["kind"], owner["name"])
        and controller["uid"] != owner["uid"]
    )


def _controls(uid: str, live: Object) -> bool:
    controller = kinds.controller_of(live)
    return controller is not None and controller["uid"] == uid


def _controller(live: Object) -> str:
    controller = kinds.controller_of(live)
    return f"controlled by {controller['kind']} {controller['name']}" if controller else "it has no controller"
