"""Faults of the model, each caused for real on the mirror: told in the endpoint's conditions, and healed without
deleting anything.
"""

from __future__ import annotations

from tests.e2e.world import LOADING, World
from tests.support.builders import Object

HEALS = LOADING + 30
"""The runtime tries again after 10 s, then 20 s, …"""


def restarts(world: World, name: str) -> int:
    return sum(status["restartCount"] for pod in world.pods(name) for status in pod["status"]["containerStatuses"])


def test_a_repository_that_does_not_exist_is_told_and_served_once_published(world: World) -> None:
    world.create("absent", "acme/later")
    told = world.fault("absent", "ModelNotFound", seconds=LOADING, stalled=True)
    assert "acme/later" in told["message"]
    assert world.condition("absent", "ModelAvailable")["status"] == "False"
    assert world.endpoint("absent")["status"]["phase"] == "Failed"
    try:
        world.mirror.publish("acme/later", world.models / "classifier")
        world.ready("absent", HEALS)
        assert not world.condition("absent", "ModelAvailable")
        assert restarts(world, "absent") == 0
        world.answer("absent")
    finally:
        world.mirror.withdraw("acme/later")


def test_a_revision_that_does_not_exist_names_the_field(world: World) -> None:
    world.create("revision", model={"id": "acme/emotions", "revision": "v9"})
    told = world.fault("revision", "ModelNotFound", seconds=LOADING)
    assert "v9" in told["message"]
    world.edit("revision", {"model": {"revision": "main"}})
    world.ready("revision", HEALS)


def test_a_gated_repository_is_told_and_served_once_a_token_is_there(world: World) -> None:
    world.create("gated", "acme/gated")
    told = world.fault("gated", "ModelGated", seconds=LOADING, stalled=True)
    assert "acme/gated" in told["message"]
    assert "tokenSecretRef" in told["message"]
    secret(world, "hub", token="let-me-in")
    try:
        world.edit("gated", {"model": {"id": "acme/gated", "tokenSecretRef": {"name": "hub", "key": "token"}}})
        world.ready("gated", HEALS)
        world.answer("gated")
    finally:
        world.kube.kubectl("delete", "secret", "hub", "-n", world.namespace)


def test_a_wrong_token_heals_when_the_secret_is_mended_without_a_restart(world: World) -> None:
    secret(world, "hub", token="wrong")
    try:
        world.create("rotated", model={"id": "acme/gated", "tokenSecretRef": {"name": "hub", "key": "token"}})
        world.fault("rotated", "ModelGated", seconds=LOADING)
        secret(world, "hub", token="let-me-in")
        # The kubelet brings a changed Secret into the pod within about 90 s; then comes the runtime's next try.
        world.ready("rotated", 300)
        assert restarts(world, "rotated") == 0
    finally:
        world.kube.kubectl("delete", "secret", "hub", "-n", world.namespace)


def test_a_missing_secret_is_told_and_healed_by_creating_it(world: World) -> None:
    world.create("keyless", model={"id": "acme/gated", "tokenSecretRef": {"name": "forgotten", "key": "token"}})
    told = world.fault("keyless", "SecretNotFound", stalled=True)
    assert "spec.model.tokenSecretRef" in told["message"]
    assert "forgotten" in told["message"]
    secret(world, "forgotten", token="let-me-in")
    try:
        world.ready("keyless", 300)
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


def test_a_task_that_the_model_cannot_do_names_those_it_can(world: World) -> None:
    world.create("wrong", "acme/emotions", task="fill-mask")
    told = world.fault("wrong", "TaskNotSupported", seconds=LOADING, stalled=True)
    assert "text-classification" in told["message"]
    assert world.condition("wrong", "SpecValid")["status"] == "False"
    world.edit("wrong", {"task": "text-classification"})
    world.ready("wrong", HEALS)


def test_a_failed_change_of_model_keeps_the_old_one_serving(world: World) -> None:
    world.create("update")
    world.ready("update")
    world.edit("update", {"model": {"id": "acme/nowhere"}})
    world.fault("update", "ModelNotFound", seconds=LOADING)
    found = world.endpoint("update")
    assert found["status"]["phase"] == "UpdateFailed"
    assert world.condition("update", "Serving")["status"] == "True"
    world.answer("update")
    world.edit("update", {"model": {"id": "acme/emotions"}})
    assert world.ready("update")["status"]["phase"] == "Running"


def secret(world: World, name: str, **data: str) -> None:
    metadata: Object = {"name": name, "namespace": world.namespace}
    world.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
