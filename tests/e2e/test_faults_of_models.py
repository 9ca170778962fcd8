"""Faults of the model, each caused for real on the mirror: told in the endpoint's conditions, and healed without
deleting anything.
"""

from __future__ import annotations

import pytest

from tests.e2e.world import LOADING, World
from tests.support.builders import Object
from tests.support.kube import http

HEALS = 2 * LOADING
"""The runtime tries again after 10 s, then 20 s, …"""


def restarts(world: World, name: str) -> int:
    return sum(status["restartCount"] for pod in world.pods(name) for status in pod["status"]["containerStatuses"])


def test_a_repository_that_does_not_exist_is_told_and_served_once_published(world: World) -> None:
    world.create("absent", "acme/later")
    told = world.fault("absent", "ModelNotFound", seconds=LOADING, stalled=True)
    assert "acme/later" in told["message"]
    assert world.condition("absent", "ModelAvailable")["status"] == "False"
    assert world.endpoint("absent")["status"]["phase"] == "Failed"
    status, body = asked(world, "absent")
    assert status == 503
    assert isinstance(body["error"], str), "a request meanwhile is answered in the Hub's words"
    try:
        world.mirror.publish("acme/later", world.models / "classifier")
        world.ready("absent", HEALS)
        assert not world.condition("absent", "ModelAvailable")
        assert restarts(world, "absent") == 0
        world.answer("absent")
    finally:
        world.mirror.withdraw("acme/later")


def asked(world: World, name: str) -> tuple[int, Object]:
    """Straight to the pod: a Service has no endpoint yet."""
    [pod] = world.pods(name)
    with world.kube.forward(f"pod/{pod['metadata']['name']}", world.namespace, 8080) as base:
        return http(f"{base}/", {"inputs": "x"}, seconds=60)


@pytest.mark.usefixtures("emotions")
def test_a_change_to_a_revision_that_does_not_exist_names_it_and_keeps_the_old_one_serving(world: World) -> None:
    world.edit("emotions", {"model": {"revision": "v9"}})
    told = world.fault("emotions", "ModelNotFound", seconds=LOADING)
    assert "v9" in told["message"]
    assert world.endpoint()["status"]["phase"] == "UpdateFailed"
    assert world.condition("emotions", "Serving")["status"] == "True"
    world.answer()
    world.edit("emotions", {"model": {"revision": None}})
    assert world.ready()["status"]["phase"] == "Running"


def test_a_gated_repository_is_told_without_a_token_and_with_a_wrong_one_and_heals_in_place(world: World) -> None:
    world.create("gated", "acme/gated")
    told = world.fault("gated", "ModelGated", seconds=LOADING, stalled=True)
    assert "acme/gated" in told["message"]
    assert "tokenSecretRef" in told["message"]
    secret(world, "hub", token="wrong")
    try:
        world.edit("gated", {"model": {"id": "acme/gated", "tokenSecretRef": {"name": "hub", "key": "token"}}})
        world.fault("gated", "ModelGated", words="with the given token", seconds=LOADING, stalled=True)
        secret(world, "hub", token="let-me-in")
        # The kubelet brings a changed Secret into the pod within about 90 s; then comes the runtime's next try.
        world.ready("gated", HEALS)
        assert restarts(world, "gated") == 0
        world.answer("gated")
    finally:
        world.kube.kubectl("delete", "secret", "hub", "-n", world.namespace)


def test_a_missing_secret_is_told_and_healed_by_creating_it(world: World) -> None:
    world.create("keyless", model={"id": "acme/gated", "tokenSecretRef": {"name": "forgotten", "key": "token"}})
    told = world.fault("keyless", "SecretNotFound", stalled=True)
    assert "spec.model.tokenSecretRef" in told["message"]
    assert "forgotten" in told["message"]
    secret(world, "forgotten", token="let-me-in")
    try:
        world.ready("keyless", HEALS)
    finally:
        world.kube.kubectl("delete", "secret", "forgotten", "-n", world.namespace)


def test_pickle_weights_are_refused_and_safetensors_heal_it(world: World) -> None:
    world.create("pickle", "acme/pickle")
    told = world.fault("pickle", "UnsafeFormat", seconds=LOADING, stalled=True)
    assert "safetensors" in told["message"]
    assert restarts(world, "pickle") == 0
    try:
        world.mirror.publish("acme/pickle", world.models / "classifier")
        world.ready("pickle", HEALS)
    finally:
        world.mirror.publish("acme/pickle", world.models / "pickle")


@pytest.mark.usefixtures("emotions")
def test_a_task_that_the_model_cannot_do_names_those_it_can(world: World) -> None:
    world.edit("emotions", {"task": "fill-mask"})
    told = world.fault("emotions", "TaskNotSupported", seconds=LOADING, stalled=True)
    assert "text-classification" in told["message"]
    assert world.condition("emotions", "SpecValid")["status"] == "False"
    world.edit("emotions", {"task": "text-classification"})
    world.ready(seconds=LOADING)


def secret(world: World, name: str, **data: str) -> None:
    metadata: Object = {"name": name, "namespace": world.namespace}
    world.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
