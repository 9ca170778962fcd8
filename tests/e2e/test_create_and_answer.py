"""Apply, Ready, answer: what everything else stands on."""

from __future__ import annotations

import json
import math

import pytest
from huggingface_hub import InferenceClient

from tests.e2e.world import LOADING, SHARED, World
from tests.support.kube import Object, environment


def test_an_endpoint_becomes_ready_and_answers_through_its_service(world: World, emotions: Object) -> None:
    status = emotions["status"]
    assert status["phase"] == "Running"
    assert status["url"] == f"http://emotions.{world.namespace}.svc"
    assert status["replicas"] == status["readyReplicas"] == 1
    assert status["model"]["id"] == "acme/emotions"
    assert len(status["model"]["revision"]) == 40
    assert status["model"]["task"] == "text-classification"
    [scores] = world.answer()
    assert sorted(row["label"] for row in scores) == ["anger", "joy", "sadness"]
    assert math.isclose(sum(row["score"] for row in scores), 1, abs_tol=1e-3)


@pytest.mark.skipif(not environment().local, reason="the audit log of somebody else's cluster is not ours to read")
@pytest.mark.usefixtures("emotions")
def test_at_most_five_objects_are_written_until_ready(world: World) -> None:
    """Deployment, Service, ServiceAccount, status twice; Events, Lease and PodDisruptionBudget apart. From a volume
    that is filled already nothing is downloaded; a model of 1 MB is as good as that, so a progress write would show
    up here.
    """
    writes = [
        (entry["verb"], entry["objectRef"]["resource"], entry["objectRef"].get("subresource", ""))
        for entry in world.audit(*world.shared_audit)
        if (entry.get("objectRef") or {}).get("name") == SHARED
        and entry["verb"] in ("create", "update", "patch", "delete")
    ]
    counted = [write for write in writes if write[1] not in ("events", "leases", "poddisruptionbudgets")]
    assert 0 < len(counted) <= 5, counted


def test_the_url_in_status_works_inside_the_cluster_for_inference_client(world: World, emotions: Object) -> None:
    script = (
        "import sys, json; from huggingface_hub import InferenceClient; "
        "rows = InferenceClient(model=sys.argv[1]).text_classification('an awful movie'); "
        "print(json.dumps({row.label: row.score for row in rows}))"
    )
    scores = world.in_cluster(script, emotions["status"]["url"])
    assert sorted(scores) == ["anger", "joy", "sadness"]
    assert math.isclose(sum(scores.values()), 1, abs_tol=1e-3)


@pytest.mark.usefixtures("emotions")
def test_inference_client_and_curl_get_the_same_answer(world: World) -> None:
    with world.url() as base:
        client = InferenceClient(model=base)
        by_client = {row.label: row.score for row in client.text_classification("an awful movie")}
        body = json.dumps({"inputs": "an awful movie"})
        said = world.kube.run("curl", "-sS", f"{base}/", "-H", "Content-Type: application/json", "-d", body).stdout
    by_curl = {row["label"]: row["score"] for row in json.loads(said)[0]}
    assert by_client == by_curl


@pytest.mark.usefixtures("emotions")
def test_kubectl_get_tells_phase_ready_url_and_age(world: World) -> None:
    header, row = world.kube.kubectl("get", "mep", "emotions", "-n", world.namespace).stdout.splitlines()
    assert header.split() == ["NAME", "PHASE", "READY", "REASON", "URL", "AGE"]
    assert row.split()[:5] == ["emotions", "Running", "True", "Running", f"http://emotions.{world.namespace}.svc"]


def test_a_model_on_a_volume_is_served_without_the_hub(world: World) -> None:
    """The claim is filled by a pod of the test, as a team's own Job would fill it."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": world.namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
    pod = world.idle_pod("fill", volume=volume, mounts=[{"name": "models", "mountPath": "/volume"}])
    try:
        # The endpoint first: it must say what is missing, and heal when it is there.
        world.create("volume", model={"uri": "pvc://models/tuned/emotions"})
        told = world.fault("volume", "VolumeClaimNotFound", stalled=True)
        assert "PersistentVolumeClaim models" in told["message"]
        world.kube.apply(claim, pod)
        world.kube.kubectl("wait", "-n", world.namespace, "--for=condition=Ready", "pod/fill", "--timeout=120s")
        world.kube.kubectl("exec", "-n", world.namespace, "fill", "--", "mkdir", "-p", "/volume/tuned")
        source = f"{world.models / 'classifier'}/."
        world.kube.kubectl("cp", source, f"{world.namespace}/fill:/volume/tuned/emotions")
        world.ready("volume", 2 * LOADING)
        assert world.endpoint("volume")["status"]["model"]["id"] == "pvc://models/tuned/emotions"
        world.answer("volume")
    finally:
        world.delete("volume")
        world.kube.kubectl("delete", "pod/fill", "-n", world.namespace, "--ignore-not-found")
        world.kube.kubectl("delete", "pvc/models", "-n", world.namespace, "--ignore-not-found", "--timeout=120s")
