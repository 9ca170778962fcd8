"""Deleting an endpoint leaves nothing, whether or not the operator runs."""

from __future__ import annotations

from tests.e2e.world import SYSTEM, World
from tests.support.waiting import eventually


def test_everything_of_a_deleted_endpoint_goes(world: World) -> None:
    world.create(replicas=2)
    eventually(lambda: "PodDisruptionBudget/emotions" in world.children(), 30)
    world.delete("emotions")
    eventually(lambda: world.children() == [], 90, 0.5)


def test_deletion_does_not_need_the_operator(world: World) -> None:
    world.create()
    world.ready()
    operator = world.release.name
    world.kube.kubectl("scale", "deployment", operator, "-n", SYSTEM, "--replicas=0")
    try:
        world.kube.kubectl(
            "wait", "--for=delete", "pod", "-n", SYSTEM, "-l", f"app.kubernetes.io/instance={operator}", "--timeout=60s"
        )
        world.delete("emotions")
        eventually(lambda: world.children() == [], 90, 0.5)
    finally:
        world.kube.kubectl("scale", "deployment", operator, "-n", SYSTEM, "--replicas=2")
        world.kube.kubectl("rollout", "status", "deployment", operator, "-n", SYSTEM, "--timeout=120s")
