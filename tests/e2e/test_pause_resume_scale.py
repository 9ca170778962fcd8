"""Pausing frees all compute and keeps everything else."""

from __future__ import annotations

import pytest

from tests.e2e.world import LOADING, POLL, World
from tests.support.kube import Object
from tests.support.waiting import consistently, eventually


@pytest.mark.usefixtures("emotions")
def test_kubectl_scale_to_two_gives_two_that_answer_and_a_budget(world: World) -> None:
    scale(world, "emotions", 2)
    assert world.ready()["status"]["readyReplicas"] == 2
    assert "PodDisruptionBudget/emotions" in world.children()
    selector = world.endpoint()["status"]["selector"]
    assert len(world.kube.all("pods", world.namespace, selector)) == 2
    world.answer()
    scale(world, "emotions", 1)
    world.ready()
    assert "PodDisruptionBudget/emotions" not in world.children()


def test_pause_frees_the_pods_and_keeps_service_url_and_count(world: World, emotions: Object) -> None:
    url = emotions["status"]["url"]
    address = world.kube.get("service", "emotions", world.namespace)["spec"]["clusterIP"]
    world.edit("emotions", {"paused": True, "replicas": 2})
    paused(world)
    found = world.endpoint()
    assert world.kube.get("deployment", "emotions", world.namespace)["spec"]["replicas"] == 0
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


@pytest.mark.usefixtures("emotions")
def test_kubectl_scale_to_zero_pauses_and_to_one_resumes(world: World) -> None:
    scale(world, "emotions", 0)
    paused(world)
    assert world.endpoint()["spec"]["replicas"] == 0
    scale(world, "emotions", 1)
    assert world.ready()["status"]["readyReplicas"] == 1


def test_scaling_a_paused_endpoint_does_not_wake_it(world: World) -> None:
    world.create("sleeper", paused=True)
    eventually(lambda: world.condition("sleeper", "Ready").get("reason") == "Paused", LOADING, POLL)
    scale(world, "sleeper", 3)
    consistently(lambda: world.pods("sleeper") == [], duration=5, interval=0.5)
    spec = world.endpoint("sleeper")["spec"]
    assert (spec["paused"], spec["replicas"]) == (True, 3)


def paused(world: World) -> None:
    """Waits until it is told, and until ended pods are no objects any more."""
    eventually(lambda: world.condition("emotions", "Ready").get("reason") == "Paused", LOADING, POLL)
    eventually(lambda: world.pods() == [], LOADING, POLL)


def scale(world: World, name: str, count: int) -> None:
    world.kube.kubectl("scale", f"mep/{name}", "-n", world.namespace, f"--replicas={count}")
