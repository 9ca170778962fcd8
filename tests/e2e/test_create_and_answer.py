"""Apply, Ready, answer: what everything else stands on."""

from __future__ import annotations

import json
import math

import pytest
from huggingface_hub import InferenceClient

from tests.e2e.world import World
from tests.support.kube import environment, http


def test_an_endpoint_becomes_ready_and_answers_through_its_service(world: World) -> None:
    world.create()
    found = world.ready()
    assert found["status"]["phase"] == "Running"
    assert found["status"]["url"] == f"http://emotions.{world.namespace}.svc"
    assert found["status"]["replicas"] == found["status"]["readyReplicas"] == 1
    assert found["status"]["model"]["id"] == "acme/emotions"
    assert len(found["status"]["model"]["revision"]) == 40
    assert found["status"]["model"]["task"] == "text-classification"
    [scores] = world.answer()
    assert sorted(row["label"] for row in scores) == ["anger", "joy", "sadness"]
    assert math.isclose(sum(row["score"] for row in scores), 1, abs_tol=1e-3)


def test_the_url_in_status_works_inside_the_cluster_for_inference_client(world: World) -> None:
    world.create("sentences", "acme/sentences")
    url = world.ready("sentences")["status"]["url"]
    script = (
        "import sys, json; from huggingface_hub import InferenceClient; "
        "print(json.dumps(InferenceClient(model=sys.argv[1]).sentence_similarity('a cat', ['a cat', 'the sun'])))"
    )
    same, other = world.in_cluster(script, url)
    assert math.isclose(same, 1, abs_tol=1e-3)
    assert other < same


def test_inference_client_and_curl_get_the_same_answer(world: World) -> None:
    world.create()
    world.ready()
    with world.url() as base:
        client = InferenceClient(model=base)
        by_client = {row.label: row.score for row in client.text_classification("an awful movie")}
        body = json.dumps({"inputs": "an awful movie"})
        said = world.kube.run("curl", "-sS", f"{base}/", "-H", "Content-Type: application/json", "-d", body).stdout
    by_curl = {row["label"]: row["score"] for row in json.loads(said)[0]}
    assert by_client == by_curl


def test_kubectl_get_tells_phase_ready_url_and_age(world: World) -> None:
    world.create()
    world.ready()
    header, row = world.kube.kubectl("get", "mep", "emotions", "-n", world.namespace).stdout.splitlines()
    assert header.split() == ["NAME", "PHASE", "READY", "REASON", "URL", "AGE"]
    assert row.split()[:5] == ["emotions", "Running", "True", "Running", f"http://emotions.{world.namespace}.svc"]


def test_replicas_get_a_budget_and_all_answer(world: World) -> None:
    world.create(replicas=2)
    found = world.ready()
    assert found["status"]["readyReplicas"] == 2
    assert "PodDisruptionBudget/emotions" in world.children()
    world.edit("emotions", {"replicas": 1})
    world.ready()
    assert "PodDisruptionBudget/emotions" not in world.children()
    world.answer()


def test_a_model_on_a_volume_is_served_without_the_hub(world: World) -> None:
    """The claim is filled by a pod of the test, as a team's own Job would fill it."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": world.namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    mirror = world.kube.get("pod", "hub-mirror", world.namespace)["spec"]
    container = {
        **{name: mirror["containers"][0][name] for name in ("image", "securityContext")},
        "name": "fill",
        "command": ["sleep", "600"],
        "volumeMounts": [{"name": "models", "mountPath": "/volume"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "fill", "namespace": world.namespace},
        "spec": {
            "securityContext": mirror["securityContext"],
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        },
    }
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
        world.ready("volume", 240)
        assert world.endpoint("volume")["status"]["model"]["id"] == "pvc://models/tuned/emotions"
        world.answer("volume")
    finally:
        world.delete("volume")
        world.kube.kubectl("delete", "pod/fill", "-n", world.namespace, "--ignore-not-found")
        world.kube.kubectl("delete", "pvc/models", "-n", world.namespace, "--ignore-not-found", "--timeout=120s")


@pytest.mark.skipif(not environment().local, reason="the audit log of somebody else's cluster is not ours to read")
def test_at_most_five_objects_are_written_until_ready(world: World) -> None:
    """Deployment, Service, ServiceAccount, status twice; Events, Lease and PodDisruptionBudget apart. From a volume
    that is filled already nothing is downloaded; a model of 1 MB is as good as that, so a progress write would show
    up here.
    """
    world.create("counted")
    world.ready("counted")
    writes = [
        (entry["verb"], entry["objectRef"]["resource"], entry["objectRef"].get("subresource", ""))
        for entry in world.audit()
        if (entry.get("objectRef") or {}).get("name") == "counted"
        and entry["verb"] in ("create", "update", "patch", "delete")
    ]
    counted = [write for write in writes if write[1] not in ("events", "leases", "poddisruptionbudgets")]
    assert len(counted) <= 5, counted


def test_a_request_while_loading_is_answered_in_the_hubs_words(world: World) -> None:
    """Straight to the pod: a Service has no endpoint yet."""
    world.create("slow", repository="acme/nowhere")
    world.fault("slow", "ModelNotFound")
    [pod] = world.pods("slow")
    with world.kube.forward(f"pod/{pod['metadata']['name']}", world.namespace, 8080) as base:
        status, body = http(f"{base}/", {"inputs": "x"}, seconds=60)
    assert status == 503
    assert isinstance(body["error"], str)
