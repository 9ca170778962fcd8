"""Both pods of the operator are killed without warning, at five moments of an endpoint's life.

The end is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.world import CHILDREN, LOADING, POLL, SHARED, SYSTEM, World
from tests.support.kube import Object
from tests.support.waiting import eventually


def kill(world: World) -> None:
    """SIGKILL, to leader and standby at once; the Deployment makes new ones."""
    pods = world.release.pods()
    world.kube.kubectl("delete", "pods", "-n", SYSTEM, "--force", "--grace-period=0", *pods)


def back(world: World) -> None:
    world.kube.kubectl("rollout", "status", "deployment", world.release.name, "-n", SYSTEM, "--timeout=300s")


def while_it_pauses(world: World) -> None:
    world.serve_shared()
    world.edit(SHARED, {"paused": True})
    kill(world)
    back(world)
    eventually(lambda: world.condition(SHARED, "Ready").get("reason") == "Paused", LOADING, POLL)
    eventually(lambda: world.pods() == [], LOADING, POLL)  # ended pods are objects for a moment longer
    world.edit(SHARED, {"paused": False})


def while_it_rolls_out(world: World) -> None:
    world.serve_shared()
    world.edit(SHARED, {"podTemplate": {"annotations": {AGAIN: "1"}}})
    kill(world)


def before_it_sees_the_endpoint(world: World) -> None:
    world.remove(SHARED)
    kill(world)
    world.create_shared()


def right_after_the_endpoint_is_created(world: World) -> None:
    world.remove(SHARED)
    world.create_shared()
    kill(world)


def while_the_pod_loads(world: World) -> None:
    world.remove(SHARED)
    world.create_shared()
    eventually(lambda: bool(world.pods()), LOADING, POLL)
    kill(world)


AGAIN = "example.com/again"
MOMENTS = [
    while_it_pauses,
    while_it_rolls_out,
    before_it_sees_the_endpoint,
    right_after_the_endpoint_is_created,
    while_the_pod_loads,
]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_the_end_is_that_of_an_undisturbed_run(
    world: World, moment: Callable[[World], None], undisturbed: list[Object]
) -> None:
    moment(world)
    back(world)
    world.ready()
    world.answer()

    def same() -> bool:
        assert shape(world) == undisturbed
        return True

    eventually(same, LOADING, POLL)


@pytest.fixture(scope="module")
def undisturbed(installed: World) -> list[Object]:
    """Children and status of an endpoint whose operator nobody killed."""
    installed.serve_shared()
    return shape(installed)


def shape(world: World) -> list[Object]:
    """What must be equal: kinds, names, specs, and the status but for times and generations."""
    children = world.kube.all(CHILDREN, world.namespace, f"slipway.dev/endpoint={SHARED}")
    specs = sorted(
        (
            {"kind": obj["kind"], "name": obj["metadata"]["name"], "spec": _stable(obj.get("spec", {}))}
            for obj in children
            if obj["kind"] != "Pod"
        ),
        key=lambda obj: str(obj["kind"]),
    )
    status = world.endpoint()["status"]
    conditions = [{name: one[name] for name in ("type", "status", "reason", "message")} for one in status["conditions"]]
    pods = sum(obj["kind"] == "Pod" for obj in children)
    return [*specs, {"pods": pods, "phase": status["phase"], "conditions": conditions, "model": status["model"]}]


def _stable(spec: Object) -> Object:
    """Without addresses, and without the annotation that made it roll out and the digest that has it in it."""
    annotations = spec.get("template", {}).get("metadata", {}).get("annotations", {})
    for name in (AGAIN, "slipway.dev/template"):
        annotations.pop(name, None)
    return {name: value for name, value in spec.items() if name not in ("clusterIP", "clusterIPs")}
