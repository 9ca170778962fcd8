"""Pausing, names that are taken, quotas, other writers, secrets: what users of a shared cluster meet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from slipway_operator.model_endpoint import spec
from slipway_operator.model_endpoint.render import children
from slipway_operator.settings import Settings

from tests.support.builders import endpoint
from tests.support.chart import OPERATOR, granted, used
from tests.support.endpoints import CASES
from tests.support.operator import PATHS, Operator, Space, writes
from tests.support.waiting import consistently, eventually
from tests.support.webhook import mutating

pytestmark = pytest.mark.usefixtures("leader")
Object = dict[str, Any]


@pytest.fixture
def made(space: Space) -> Space:
    space.cluster.create(endpoint(namespace=space.name, replicas=2))
    eventually(space.has_children)
    eventually(lambda: len(space.pods()) == 2)
    return space


# -- pause ------------------------------------------------------------------------------------------------------------


def test_a_pause_reaches_the_deployment_within_a_second(made: Space) -> None:
    made.make_ready()
    eventually(lambda: made.condition("Ready") == ("True", "Running"))
    service = made.get("Service")
    assert any(pause_took(made) < 1 for _ in range(3))  # a machine with other work may be slow once
    # No kubelet confirms the end of the pods here: they are taken away as one would.
    for pod in made.all("Pod"):
        made.cluster.http.delete(made.path("Pod", pod["metadata"]["name"]), params={"gracePeriodSeconds": 0})
    eventually(lambda: made.status().get("phase") == "Paused")
    assert made.condition("Ready") == ("True", "Paused")
    assert made.condition("Serving") == ("False", "Paused")
    assert made.get("Service")["metadata"]["uid"] == service["metadata"]["uid"]
    assert made.get("ModelEndpoint")["spec"]["replicas"] == 2
    made.cluster.kubectl("wait", "-n", made.name, "--for=condition=Ready", "--timeout=5s", "mep/emotions")
    made.patch("ModelEndpoint", {"spec": {"paused": False}})
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 2)


def pause_took(made: Space) -> float:
    """Seconds from the request to a Deployment at zero; of an endpoint that is running or paused."""
    made.patch("ModelEndpoint", {"spec": {"paused": False}})
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 2)
    begun = time.monotonic()
    made.patch("ModelEndpoint", {"spec": {"paused": True}})
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 0, interval=0.01)
    return time.monotonic() - begun


def test_scaling_to_nothing_pauses_as_well(made: Space) -> None:
    made.cluster.kubectl("scale", "-n", made.name, "mep/emotions", "--replicas=0")
    eventually(lambda: made.status().get("phase") == "Paused")
    made.cluster.kubectl("scale", "-n", made.name, "mep/emotions", "--replicas=1")
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 1)


# -- a name that is taken ---------------------------------------------------------------------------------------------

TAKEN: dict[str, Object] = {
    "Service": {"apiVersion": "v1", "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}},
    "ServiceAccount": {"apiVersion": "v1"},
    "Deployment": {
        "apiVersion": "apps/v1",
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "shop", "image": "example.com/shop:1"}]},
            },
        },
    },
}


@pytest.mark.parametrize("kind", TAKEN)
def test_an_object_of_somebody_else_is_left_as_it_is(kind: str, space: Space) -> None:
    taken = {"kind": kind, "metadata": {"name": "emotions", "namespace": space.name}, **TAKEN[kind]}
    space.cluster.create(taken)
    before = eventually(lambda: settled(space, kind))
    space.cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.condition("Ready") == ("False", "NameConflict"))
    message = space.message("Ready")
    assert f"{kind} {space.name}/emotions exists" in message
    assert f"ModelEndpoint {space.name}/emotions" in message
    assert space.condition("Stalled") == ("True", "NameConflict")
    consistently(lambda: space.get(kind) == before, duration=2)
    assert len(eventually(lambda: space.events("NameConflict") or None)) == 1
    space.delete("ModelEndpoint")
    consistently(lambda: space.get(kind) == before, duration=1)
    space.cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.condition("Ready") == ("False", "NameConflict"))
    space.delete(kind)
    # It is looked for every 9 s: a stranger's object has no label that we watch.
    eventually(lambda: space.condition("Stalled") is None)
    assert space.has_children("ServiceAccount", "Service", "Deployment")


def settled(space: Space, kind: str) -> Object:
    """The object once its own controller has come to rest."""
    first = space.get(kind)
    if kind == "Deployment":
        assert first.get("status", {}).get("observedGeneration") == 1
        consistently(lambda: space.get(kind) == first, duration=0.5)
    return first


# -- quotas and refusals ----------------------------------------------------------------------------------------------


def test_a_quota_is_told_and_its_rise_is_enough(space: Space) -> None:
    quota = {"metadata": {"name": "pods", "namespace": space.name}, "spec": {"hard": {"pods": "0"}}}
    space.cluster.create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    eventually(lambda: space.get("ResourceQuota", "pods").get("status", {}).get("hard"))
    space.cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.condition("Ready") == ("False", "QuotaExceeded"))
    assert "limited: pods=0" in space.message("Ready")
    assert "spec.replicas" in space.message("Ready")
    assert space.condition("Stalled") == ("True", "QuotaExceeded")
    space.patch("ResourceQuota", {"spec": {"hard": {"pods": "5"}}}, name="pods")
    eventually(space.some_pods, timeout=60)
    eventually(lambda: space.condition("Stalled") is None)


@contextmanager
def denied(space: Space, reason: str) -> Iterator[None]:
    """An admission policy of the cluster's administrator that lets no Deployment into this namespace."""
    name = f"no-deployments-{space.name}"
    group = "/apis/admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    only_here = {"matchLabels": {"kubernetes.io/metadata.name": space.name}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": only_here},
        "validations": [{"expression": "false", "message": "no Deployments on Fridays", "reason": reason}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    for plural, body in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
        space.cluster.http.post(f"{group}/{plural}", json={"metadata": {"name": name}, "spec": body}).raise_for_status()
    probe = {"metadata": {"name": "probe", "namespace": space.name}, "kind": "Deployment", **TAKEN["Deployment"]}
    eventually(lambda: not space.cluster.post(probe, dry_run=True).is_success)
    try:
        yield
    finally:
        for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            space.cluster.http.delete(f"{group}/{plural}/{name}")


@pytest.mark.parametrize(("reason", "told"), [("Invalid", "InvalidSpec"), ("Forbidden", "ApplyForbidden")])
def test_a_child_that_an_admission_policy_refuses_is_told_in_the_policys_words(
    leader: Operator, space: Space, reason: str, told: str
) -> None:
    canary = "hf_CANARY0123456789"
    with denied(space, reason):
        space.cluster.create(endpoint(namespace=space.name, podTemplate={"env": [{"name": "A", "value": canary}]}))
        eventually(lambda: space.condition("Ready") == ("False", told))
        assert "no Deployments on Fridays" in space.message("Ready")
        assert "Deployment" in space.message("Ready")
        assert space.condition("Stalled") == ("True", told)
        assert space.has_children("ServiceAccount", "Service")
        assert canary not in str([space.status(), space.all("Event"), leader.log()])
    eventually(lambda: space.condition("Stalled") is None and space.has_children())


def test_a_policy_that_refuses_pods_is_told_and_recovered_from(space: Space) -> None:
    """A LimitRange that no pod of this endpoint can meet."""
    limit = {"spec": {"limits": [{"type": "Container", "max": {"memory": "1Mi"}, "default": {"memory": "1Mi"}}]}}
    made = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": space.name}, **limit}
    space.cluster.create(made)
    space.cluster.create(endpoint(namespace=space.name, resources={"limits": {"memory": "1Gi"}}))
    eventually(lambda: space.condition("Ready") == ("False", "PodRefused"))
    assert "maximum memory usage per Container is 1Mi" in space.message("Ready")


# -- other writers ----------------------------------------------------------------------------------------------------


def test_a_controller_that_changes_a_field_back_is_not_fought_at_full_speed(space: Space) -> None:
    space.cluster.create(endpoint(namespace=space.name))
    eventually(space.has_children)
    over = threading.Event()

    def revert() -> None:
        while not over.wait(0.05):
            if space.get("Deployment")["spec"]["revisionHistoryLimit"] == 2:
                space.patch("Deployment", {"spec": {"revisionHistoryLimit": 9}}, manager="stubborn")

    stubborn = threading.Thread(target=revert)
    before = len(space.cluster.audit(OPERATOR))
    stubborn.start()
    try:
        eventually(lambda: space.events("ApplyContested") or None)
        consistently(lambda: space.get("Deployment"), duration=5)
    finally:
        over.set()
        stubborn.join()
    mine = [write for write in writes(space.cluster, before, namespace=space.name) if "/deployments/" in write]
    assert len(mine) <= 6, mine
    (event,) = space.events("ApplyContested")
    assert "spec.revisionHistoryLimit of Deployment emotions" in event["message"]
    # Another field of the same child is repaired all the while.
    space.patch("Deployment", {"spec": {"replicas": 5}})
    eventually(lambda: space.get("Deployment")["spec"]["replicas"] == 1)


def test_a_mutating_webhook_is_not_fought(space: Space) -> None:
    """It undoes a field within our own request: after one try that is known to be futile."""
    probe = {"metadata": {"name": "probe", "namespace": space.name}, "kind": "Deployment", **TAKEN["Deployment"]}
    with mutating(space.cluster, space.name, "/spec/revisionHistoryLimit", 7):
        eventually(lambda: space.cluster.post(probe, dry_run=True).json()["spec"]["revisionHistoryLimit"] == 7)
        before = len(space.cluster.audit(OPERATOR))
        space.cluster.create(endpoint(namespace=space.name))
        eventually(space.some_pods)
        space.make_ready()
        eventually(lambda: space.condition("Ready") == ("True", "Running"))

        def applies() -> list[str]:
            found = writes(space.cluster, before, namespace=space.name)
            return [write for write in found if "/deployments/" in write]

        consistently(lambda: len(applies()) == 1, duration=4)
        (event,) = eventually(lambda: space.events("ApplyContested") or None)
        assert "spec.revisionHistoryLimit of Deployment emotions" in event["message"]
        space.patch("Deployment", {"spec": {"replicas": 3}})
        eventually(lambda: space.get("Deployment")["spec"]["replicas"] == 1)
        consistently(lambda: len(applies()) == 2, duration=2)


def test_conditions_and_fields_of_others_in_the_status_stay(made: Space) -> None:
    audited = {
        "type": "Audited",
        "status": "True",
        "reason": "Fine",
        "message": "",
        "lastTransitionTime": "2026-11-21T09:00:00Z",
    }
    body = {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelEndpoint",
        "metadata": {"name": "emotions"},
        "status": {"conditions": [audited]},
    }
    made.cluster.http.patch(
        made.path("ModelEndpoint", "emotions") + "/status",
        params={"fieldManager": "auditor"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        content=json.dumps(body),
    ).raise_for_status()
    made.make_ready()
    eventually(lambda: made.condition("Ready") == ("True", "Running"))
    assert made.condition("Audited") == ("True", "Fine")
    before = len(made.cluster.audit(OPERATOR))
    # Running without a word from the pods is looked at again every 9 s: nothing is written then.
    consistently(lambda: not writes(made.cluster, before, namespace=made.name), duration=10, interval=0.5)


# -- users' objects and secrets ---------------------------------------------------------------------------------------


def test_nothing_is_written_to_what_the_user_wrote(made: Space) -> None:
    eventually(lambda: made.status().get("phase"))
    obj = made.get("ModelEndpoint")
    managers = {(entry["manager"], entry.get("subresource", "")) for entry in obj["metadata"]["managedFields"]}
    assert managers == {("tests", ""), ("slipway-status", "status")}
    assert "finalizers" not in obj["metadata"]
    assert "annotations" not in obj["metadata"]
    assert obj["metadata"]["generation"] == 1


def test_a_token_in_the_environment_is_told_nowhere(leader: Operator, space: Space) -> None:
    canary = "hf_CANARY0123456789"
    template = {"env": [{"name": "PASSWORD", "value": canary}], "annotations": {"note": canary}}
    space.cluster.create(endpoint(namespace=space.name, podTemplate=template))
    pull = {"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}}
    container = {"name": "serve", "ready": False, "restartCount": 0, "image": "x", "imageID": "", "state": pull}
    pod = eventually(space.some_pods)[0]
    space.imitate_kubelet(pod, phase="Pending", containerStatuses=[container])
    eventually(lambda: space.condition("Ready") == ("False", "ContainerConfigError"))
    for place in (leader.log(), space.status(), space.all("Event"), leader.metrics()):
        assert canary not in str(place)


# -- Events and metrics -----------------------------------------------------------------------------------------------


def test_one_event_for_each_change_of_what_ready_says(made: Space) -> None:
    for _ in range(3):
        made.make_ready()
        eventually(lambda: made.condition("Ready") == ("True", "Running"))
        made.patch("ModelEndpoint", {"spec": {"replicas": 3}})
        eventually(lambda: made.condition("Ready") == ("False", "RollingOut"))
        made.patch("ModelEndpoint", {"spec": {"replicas": 2}})
        eventually(lambda: len(made.pods()) == 2)
        for pod in made.all("Pod"):
            if "deletionTimestamp" in pod["metadata"]:
                made.cluster.http.delete(made.path("Pod", pod["metadata"]["name"]), params={"gracePeriodSeconds": 0})
        eventually(lambda: made.condition("Ready") == ("True", "Running"))
    (event,) = eventually(lambda: made.events("Running") or None)
    assert event["count"] >= 3
    assert event["source"]["component"] == "slipway-operator"
    assert made.events("RollingOut") == []


METRICS = [
    'workqueue_depth{name="ModelEndpoint"}',
    'workqueue_queue_duration_seconds_count{name="ModelEndpoint"}',
    'controller_runtime_reconcile_time_seconds_count{controller="ModelEndpoint"}',
    'controller_runtime_reconcile_total{controller="ModelEndpoint",result="success"}',
    'slipway_api_requests_total{code="200",resource="modelendpoints",verb="watch"}',
    'slipway_api_requests_total{code="201",resource="deployments",verb="patch"}',
    'slipway_cached_objects{resource="services"}',
    'leader_election_master_status{name="slipway"}',
    "process_resident_memory_bytes",
]


def test_metrics_tell_queue_reconciles_requests_and_leadership(leader: Operator, made: Space) -> None:
    eventually(lambda: made.status().get("phase"))
    found = leader.metrics()
    assert [name for name in METRICS if not found.get(name, 0.0) > 0 and "depth" not in name] == []
    assert METRICS[0] in found


# -- rendered children, rights ----------------------------------------------------------------------------------------


@pytest.fixture
def restricted(space: Space) -> Space:
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    path = f"/api/v1/namespaces/{space.name}"
    headers = {"Content-Type": "application/merge-patch+json"}
    space.cluster.http.patch(
        path, headers=headers, content=json.dumps({"metadata": {"labels": labels}})
    ).raise_for_status()
    return space


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_takes_every_rendered_child_without_a_warning(case: str, restricted: Space) -> None:
    settings = Settings(namespace="slipway-system", pod_name="x", runtime_image="registry.example.com/runtime:1")
    obj = {**CASES[case], "metadata": {**CASES[case]["metadata"], "namespace": restricted.name}}
    for child in children(spec.parse(obj), settings):
        assert child["kind"] in PATHS
        reply = restricted.cluster.post(child, dry_run=True)
        assert reply.is_success, reply.json()["message"]
        assert "warning" not in reply.headers, reply.headers["warning"]


def test_pods_are_admitted_where_pod_security_restricted_is_enforced(restricted: Space) -> None:
    """By the ReplicaSet, for real."""
    model = {"id": "org/name", "tokenSecretRef": {"name": "hub"}}
    restricted.cluster.create(endpoint(namespace=restricted.name, model=model))
    eventually(restricted.some_pods)


def test_the_operator_uses_just_the_rights_that_the_chart_grants(made: Space) -> None:
    """All of them in one life: budget made and deleted, a fault told twice, Events of a stuck pod read."""
    expected = granted()
    made.patch("ModelEndpoint", {"spec": {"replicas": 1}})
    eventually(lambda: made.find("PodDisruptionBudget") is None)
    eventually(lambda: len(made.pods()) == 1)  # the other one goes
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    container = {"name": "serve", "ready": False, "restartCount": 0, "image": "x", "imageID": "", "state": waiting}
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    for pod in made.pods():
        made.imitate_kubelet(pod, phase="Pending", containerStatuses=[container], conditions=scheduled)
    for _ in range(2):
        made.patch("ModelEndpoint", {"spec": {"replicas": 0}})
        eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 0)
        eventually(lambda: made.status().get("phase") == "Paused")
        made.patch("ModelEndpoint", {"spec": {"replicas": 1}})
        eventually(lambda: made.status().get("phase") == "Initializing")
    eventually(lambda: used(made.cluster.audit(OPERATOR)) >= expected)
    assert used(made.cluster.audit(OPERATOR)) <= granted()
    forbidden = [
        event["requestURI"]
        for event in made.cluster.audit(OPERATOR)
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
    ]
    assert forbidden == []
