"""Pausing frees all compute and keeps everything else."""

from __future__ import annotations

import time

from tests.e2e.world import World
from tests.support.waiting import consistently, eventually


def test_pause_frees_the_pods_and_keeps_service_url_and_count(world: World) -> None:
    world.create(replicas=2)
    url = world.ready()["status"]["url"]
    address = world.kube.get("service", "emotions", world.namespace)["spec"]["clusterIP"]
    started = time.monotonic()
    world.edit("emotions", {"paused": True})
    eventually(lambda: replicas(world) == 0, timeout=5, interval=0.02)
    took = time.monotonic() - started
    assert took < 1, f"the Deployment was at zero after {took:.2f} s"
    eventually(lambda: world.condition("emotions", "Ready").get("reason") == "Paused", timeout=60)
    eventually(lambda: world.pods() == [], timeout=10)  # ended pods are objects for a moment longer
    found = world.endpoint()
    assert found["status"]["phase"] == "Paused"
    assert found["status"]["url"] == url
    assert found["status"]["replicas"] == 0
    assert found["spec"]["replicas"] == 2
    assert found["status"]["model"]["id"] == "acme/emotions"
    assert world.condition("emotions", "Serving")["status"] == "False"
    assert world.kube.get("service", "emotions", world.namespace)["spec"]["clusterIP"] == address

    world.edit("emotions", {"paused": False})
    assert world.ready()["status"]["readyReplicas"] == 2
    world.answer()


def test_kubectl_scale_to_zero_pauses_and_to_two_resumes(world: World) -> None:
    world.create()
    world.ready()
    scale(world, 0)
    eventually(lambda: world.condition("emotions", "Ready").get("reason") == "Paused", timeout=60)
    assert world.endpoint()["spec"]["replicas"] == 0
    scale(world, 2)
    assert world.ready()["status"]["readyReplicas"] == 2
    shown = world.kube.kubectl(
        "get", "mep", "emotions", "-n", world.namespace, "-o", "jsonpath={.status.selector}"
    ).stdout
    assert len(world.kube.all("pods", world.namespace, shown)) == 2


def test_scaling_a_paused_endpoint_does_not_wake_it(world: World) -> None:
    world.create(paused=True)
    eventually(lambda: world.condition("emotions", "Ready").get("reason") == "Paused", timeout=30)
    scale(world, 3)
    consistently(lambda: world.pods() == [], duration=5, interval=0.5)
    assert world.endpoint()["spec"] | {"model": None} == world.endpoint()["spec"] | {
        "model": None,
        "paused": True,
        "replicas": 3,
    }


def replicas(world: World) -> int:
    count: int = world.kube.get("deployment", "emotions", world.namespace)["spec"]["replicas"]
    return count


def scale(world: World, count: int) -> None:
    world.kube.kubectl("scale", "mep/emotions", "-n", world.namespace, f"--replicas={count}")
