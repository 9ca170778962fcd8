"""What somebody changes by hand is repaired, and pods are not restarted for it."""

from __future__ import annotations

import pytest

from tests.e2e.world import LOADING, POLL, TOLD, World
from tests.support.waiting import eventually

REPAIRED = 30.0
"""Seconds, six times of what is promised, for two cores that others use, too."""
pytestmark = pytest.mark.usefixtures("emotions")


def test_changes_and_deletions_by_hand_are_repaired(world: World) -> None:
    [pod] = world.pods()
    ns = world.namespace

    world.kube.patch("service", "emotions", ns, {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 1}]}})
    eventually(
        lambda: world.kube.get("service", "emotions", ns)["spec"]["ports"][0]["targetPort"] == "http", REPAIRED, POLL
    )
    world.kube.kubectl("delete", "service", "emotions", "-n", ns)
    eventually(lambda: world.kube.find("service", "emotions", ns), REPAIRED, POLL)

    world.kube.patch("serviceaccount", "emotions", ns, {"automountServiceAccountToken": True})
    eventually(
        lambda: world.kube.get("serviceaccount", "emotions", ns)["automountServiceAccountToken"] is False,
        REPAIRED,
        POLL,
    )
    world.kube.kubectl("label", "deployment", "emotions", "-n", ns, "app.kubernetes.io/managed-by-")
    eventually(lambda: managed(world) == "slipway", REPAIRED, POLL)

    assert [found["metadata"]["uid"] for found in world.pods()] == [pod["metadata"]["uid"]]
    world.answer()

    world.kube.patch("deployment", "emotions", ns, {"spec": {"replicas": 3}})
    eventually(lambda: world.kube.get("deployment", "emotions", ns)["spec"]["replicas"] == 1, REPAIRED, POLL)
    world.ready()


def managed(world: World) -> str | None:
    labels = world.kube.get("deployment", "emotions", world.namespace)["metadata"]["labels"]
    found: str | None = labels.get("app.kubernetes.io/managed-by")
    return found


def test_a_deleted_deployment_comes_back_and_serves(world: World) -> None:
    before = world.kube.get("deployment", "emotions", world.namespace)["metadata"]["uid"]
    world.kube.kubectl("delete", "deployment", "emotions", "-n", world.namespace)

    def back() -> bool:
        found = world.kube.find("deployment", "emotions", world.namespace)
        return found is not None and found["metadata"]["uid"] != before

    eventually(back, REPAIRED, POLL)
    eventually(lambda: world.condition("emotions", "Ready").get("status") == "False", TOLD, POLL)
    world.ready(seconds=LOADING)
    world.answer()
