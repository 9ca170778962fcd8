"""`helm upgrade` with endpoints running."""

from __future__ import annotations

import json

import pytest

from tests.e2e.world import LOADING, POLL, SYSTEM, World
from tests.support.kube import ROOT
from tests.support.waiting import eventually


@pytest.mark.usefixtures("emotions")
def test_an_upgrade_of_the_operator_restarts_no_pod(world: World) -> None:
    before = [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in world.pods()]
    operator = set(world.release.pods())
    world.release.upgrade(logLevel="DEBUG")
    world.kube.kubectl("rollout", "status", "deployment", world.release.name, "-n", SYSTEM, "--timeout=300s")
    eventually(lambda: not operator & set(world.release.pods()), LOADING, POLL)
    after = [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in world.pods()]
    assert after == before
    world.answer()


def test_the_upgrade_hook_brings_an_older_crd_up_to_date(world: World) -> None:
    """The older one lacks a field's description: the smallest difference that can be seen."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/paused/description"
    patch = json.dumps([{"op": "replace", "path": path, "value": "of an older version"}])
    world.kube.kubectl("patch", "crd", "modelendpoints.slipway.dev", "--type=json", "-p", patch)
    assert "of an older version" in explain(world)
    world.release.upgrade()
    assert "of an older version" not in explain(world)
    assert (ROOT / "crds/modelendpoints.yaml").exists()
    left = world.kube.kubectl(
        "get", "serviceaccounts,clusterroles,clusterrolebindings", "-n", SYSTEM, "-o", "name"
    ).stdout
    assert "crd-upgrade" not in left, "the hook's account or rights outlive it"


def explain(world: World) -> str:
    return world.kube.kubectl("get", "crd", "modelendpoints.slipway.dev", "-o", "json").stdout


@pytest.mark.usefixtures("emotions")
def test_an_image_that_is_not_there_keeps_the_old_pods_serving_and_is_told(world: World) -> None:
    """The runtime's image is a setting of the release: this is what a typing error in an upgrade does."""
    world.release.upgrade(runtime__image__tag="no-such-tag")
    try:
        told = world.fault("emotions", "ImagePullFailed", seconds=LOADING, stalled=True)
        assert "no-such-tag" in told["message"]
        assert world.endpoint()["status"]["phase"] == "UpdateFailed"
        assert world.condition("emotions", "Serving")["status"] == "True"
        world.answer()
        world.create("fresh")
        world.fault("fresh", "ImagePullFailed", seconds=LOADING, stalled=True)
        assert world.endpoint("fresh")["status"]["phase"] == "Failed"
    finally:
        world.release.upgrade(runtime__image__tag=world.release.images.runtime.rpartition(":")[2])
    world.ready()
    world.ready("fresh")
