"""Both pods of the operator are killed without warning, at five moments of an endpoint's life.

The end is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.world import CHILDREN, SYSTEM, World
from tests.support.kube import Object
from tests.support.waiting import eventually


def kill(world: World) -> None:
    """SIGKILL, to leader and standby at once; the Deployment makes new ones."""
    pods = world.release.pods()
    world.kube.kubectl("delete", "pods", "-n", SYSTEM, "--force", "--grace-period=0", *pods)


def back(world: World) -> None:
    world.kube.kubectl("rollout", "status", "deployment", world.release.name, "-n", SYSTEM, "--timeout=120s")


def before_it_sees_the_endpoint(world: World) -> None:
    kill(world)
    world.create("victim")


def right_after_the_endpoint_is_created(world: World) -> None:
    world.create("victim")
    kill(world)


def while_the_pod_loads(world: World) -> None:
    world.create("victim")
    eventually(lambda: bool(world.pods("victim")), 60)
    kill(world)


def while_it_pauses(world: World) -> None:
    world.create("victim")
    world.ready("victim")
    world.edit("victim", {"paused": True})
    kill(world)
    back(world)
    eventually(lambda: world.condition("victim", "Ready").get("reason") == "Paused", 90, 0.5)
    eventually(lambda: world.pods("victim") == [], 10)  # ended pods are objects for a moment longer
    world.edit("victim", {"paused": False})


def while_it_rolls_out(world: World) -> None:
    world.create("victim")
    world.ready("victim")
    world.edit("victim", {"podTemplate": {"annotations": {"example.com/again": "1"}}})
    kill(world)
    back(world)
    world.ready("victim")
    world.edit("victim", {"podTemplate": None})


MOMENTS = [
    before_it_sees_the_endpoint,
    right_after_the_endpoint_is_created,
    while_the_pod_loads,
    while_it_pauses,
    while_it_rolls_out,
]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_the_end_is_that_of_an_undisturbed_run(
    world: World, moment: Callable[[World], None], undisturbed: list[Object]
) -> None:
    moment(world)
    back(world)
    world.ready("victim")
    world.answer("victim")
    eventually(lambda: shape(world) == undisturbed, 60, 0.5)


@pytest.fixture(scope="module")
def undisturbed(installed: World) -> list[Object]:
    """Children and status of an endpoint whose operator nobody killed."""
    installed.create("victim")
    installed.ready("victim")
    found = shape(installed)
    installed.delete("victim")
    eventually(lambda: installed.children("victim") == [], 90, 0.5)
    return found


def shape(world: World) -> list[Object]:
    """What must be equal: kinds, names, specs as rendered, and the status but for times and generations."""
    children = world.kube.all(CHILDREN, world.namespace, "slipway.dev/endpoint=victim")
    specs = sorted(
        (
            {
                "kind": obj["kind"],
                "rendered": obj["metadata"].get("annotations", {}).get("slipway.dev/rendered", "")[:0],
            }
            | {"spec": _stable(obj.get("spec", {}))}
            for obj in children
            if obj["kind"] != "Pod"
        ),
        key=lambda obj: str(obj["kind"]),
    )
    status = world.endpoint("victim")["status"]
    conditions = [{name: one[name] for name in ("type", "status", "reason", "message")} for one in status["conditions"]]
    pods = sum(obj["kind"] == "Pod" for obj in children)
    return [*specs, {"pods": pods, "phase": status["phase"], "conditions": conditions, "model": status["model"]}]


def _stable(spec: Object) -> Object:
    return {name: value for name, value in spec.items() if name not in ("clusterIP", "clusterIPs")}
