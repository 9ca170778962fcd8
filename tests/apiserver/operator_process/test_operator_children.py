"""What an endpoint becomes, what a change of it changes, and what is left when it goes."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator import kinds

from tests.support.builders import endpoint
from tests.support.chart import OPERATOR
from tests.support.operator import CHILDREN, Operator, Space, writes
from tests.support.waiting import consistently, eventually

pytestmark = pytest.mark.usefixtures("leader")


@pytest.fixture
def made(space: Space) -> Space:
    """A namespace with the endpoint `emotions` and its children in it."""
    space.cluster.create(endpoint(namespace=space.name))
    eventually(space.has_children)
    return space


def container(space: Space) -> dict[str, Any]:
    found: dict[str, Any] = space.get("Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def test_an_endpoint_gets_its_children_and_owns_them(made: Space) -> None:
    uid = made.get("ModelEndpoint")["metadata"]["uid"]
    for kind in ("ServiceAccount", "Service", "Deployment"):
        controller = kinds.controller_of(made.get(kind))
        assert controller is not None
        assert (controller["kind"], controller["uid"]) == ("ModelEndpoint", uid)
    assert made.find("PodDisruptionBudget") is None
    assert eventually(made.some_pods)[0]["spec"]["serviceAccountName"] == "emotions"


def test_status_says_that_it_is_starting(made: Space) -> None:
    eventually(lambda: made.status().get("phase") == "Initializing")
    assert made.status()["url"] == f"http://emotions.{made.name}.svc"
    assert made.condition("Ready") == ("False", "PodsStarting")
    assert made.condition("Serving") == ("False", "NoPodReady")
    assert made.condition("Reconciling") == ("True", "PodsStarting")


def test_an_endpoint_costs_five_writes_until_it_is_ready(cluster: Any, space: Space) -> None:
    before = len(cluster.audit(OPERATOR))
    cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.status().get("phase") == "Initializing")
    eventually(space.some_pods)
    space.make_ready()
    eventually(lambda: space.condition("Ready") == ("True", "Running"))
    consistently(lambda: len(writes(cluster, before, namespace=space.name)) <= 5, duration=3)


def test_kubectl_wait_for_ready_works(made: Space) -> None:
    eventually(made.some_pods)
    made.make_ready()
    made.cluster.kubectl("wait", "-n", made.name, "--for=condition=Ready", "--timeout=10s", "mep/emotions")
    assert made.condition("Serving") == ("True", "PodsReady")
    columns = made.cluster.kubectl("get", "-n", made.name, "mep/emotions").stdout
    assert "Running" in columns
    assert "True" in columns


def test_a_field_removed_from_the_spec_is_removed_from_the_deployment(space: Space) -> None:
    template = {"nodeSelector": {"disk": "ssd"}, "priorityClassName": "system-node-critical", "env": [{"name": "A"}]}
    resources = {"limits": {"memory": "1Gi", "cpu": "1"}}
    space.cluster.create(endpoint(namespace=space.name, podTemplate=template, resources=resources))
    eventually(space.has_children)
    assert space.get("Deployment")["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "ssd"}
    space.patch("ModelEndpoint", {"spec": {"podTemplate": None, "resources": {"limits": {"cpu": None}}}})

    def gone() -> bool:
        pod = space.get("Deployment")["spec"]["template"]["spec"]
        names = [one["name"] for one in pod["containers"][0]["env"]]
        limits = pod["containers"][0]["resources"]["limits"]
        return (
            "nodeSelector" not in pod
            and "priorityClassName" not in pod
            and "A" not in names
            and limits == {"memory": "1Gi"}
        )

    eventually(gone)


def test_quantities_in_any_spelling_are_applied_once(cluster: Any, space: Space) -> None:
    resources = {"limits": {"cpu": "1000m", "memory": "1024Mi", "nvidia.com/gpu": 1}, "requests": {"cpu": "0.5"}}
    space.cluster.create(endpoint(namespace=space.name, resources=resources))
    eventually(lambda: space.status().get("phase"))
    before = len(cluster.audit(OPERATOR))
    consistently(lambda: not [w for w in writes(cluster, before, namespace=space.name) if "deployments" in w], 3)


def test_a_budget_comes_and_goes_with_the_second_replica(made: Space) -> None:
    made.patch("ModelEndpoint", {"spec": {"replicas": 2}})
    eventually(lambda: made.find("PodDisruptionBudget"))
    made.patch("ModelEndpoint", {"spec": {"replicas": 1}})
    eventually(lambda: made.find("PodDisruptionBudget") is None)
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 1)


def test_kubectl_scale_reaches_the_deployment_and_reads_the_count(made: Space) -> None:
    made.cluster.kubectl("scale", "-n", made.name, "mep/emotions", "--replicas=3")
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 3)
    eventually(lambda: len(made.pods()) == 3)
    scale = made.path("ModelEndpoint", "emotions") + "/scale"
    eventually(lambda: (made.cluster.http.get(scale).json()["status"] or {}).get("replicas") == 3)
    status = made.cluster.http.get(scale).json()["status"]
    assert status == {"replicas": 3, "selector": "slipway.dev/endpoint=emotions"}


def test_deleting_an_endpoint_leaves_nothing(made: Space) -> None:
    eventually(made.some_pods)
    made.delete("ModelEndpoint")
    eventually(lambda: all(made.find(kind) is None for kind in CHILDREN))


def test_an_endpoint_made_anew_under_its_name_gets_children_of_its_own(made: Space) -> None:
    """Deleted and made anew before the garbage collector has come round: the old children are waited for."""
    first = made.get("ModelEndpoint")["metadata"]["uid"]
    made.delete("ModelEndpoint")
    made.cluster.create(endpoint(namespace=made.name))
    second = made.get("ModelEndpoint")["metadata"]["uid"]
    assert first != second

    def owned() -> bool:
        found = [made.find(kind) for kind in ("ServiceAccount", "Service", "Deployment")]
        return all(child and (kinds.controller_of(child) or {}).get("uid") == second for child in found)

    eventually(owned)
    eventually(made.some_pods)
    assert made.events("NameConflict") == []


def test_children_are_made_while_others_wait(leader: Operator, space: Space) -> None:
    """Forty endpoints at once: each gets its children, none is forgotten."""
    names = [f"e{number}" for number in range(40)]
    for name in names:
        space.cluster.create(endpoint(name, namespace=space.name, paused=True))
    eventually(lambda: all(space.status(name).get("phase") == "Paused" for name in names))
    eventually(lambda: leader.metrics()['workqueue_depth{name="ModelEndpoint"}'] == 0)
