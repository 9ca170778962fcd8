"""Uninstalling keeps endpoints and what they serve; installing again takes them up."""

from __future__ import annotations

import pytest

from tests.e2e.world import World


@pytest.mark.usefixtures("emotions")
def test_endpoints_outlive_the_release_and_are_taken_up_again(world: World) -> None:
    pods = {pod["metadata"]["uid"] for pod in world.pods()}

    world.release.uninstall()
    assert world.kube.kubectl("get", "crd", "modelendpoints.slipway.dev", check=False).returncode == 0
    assert world.endpoint()["status"]["phase"] == "Running"
    world.answer()

    world.edit("emotions", {"replicas": 2})
    world.release.install()
    assert world.ready()["status"]["readyReplicas"] == 2
    kept = {pod["metadata"]["uid"] for pod in world.pods()}
    assert pods <= kept, "the pod that ran before was replaced"
    assert len(kept) == 2
