"""Deleting an endpoint leaves nothing, whether or not the operator runs."""

from __future__ import annotations

from tests.e2e.world import LOADING, POLL, SYSTEM, World
from tests.support.waiting import eventually


def test_everything_of_a_deleted_endpoint_goes(world: World) -> None:
    world.create("brief", replicas=2)
    eventually(lambda: "PodDisruptionBudget/brief" in world.children("brief"), LOADING, POLL)
    world.remove("brief")


def test_deletion_does_not_need_the_operator(world: World) -> None:
    world.create("orphan")
    eventually(lambda: bool(world.pods("orphan")), LOADING, POLL)
    operator = world.release.name
    world.kube.kubectl("scale", "deployment", operator, "-n", SYSTEM, "--replicas=0")
    try:
        selector = f"app.kubernetes.io/instance={operator}"
        world.kube.kubectl("wait", "--for=delete", "pod", "-n", SYSTEM, "-l", selector, "--timeout=120s")
        world.remove("orphan")
    finally:
        world.kube.kubectl("scale", "deployment", operator, "-n", SYSTEM, "--replicas=2")
        world.kube.kubectl("rollout", "status", "deployment", operator, "-n", SYSTEM, "--timeout=300s")
