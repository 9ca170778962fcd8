"""A change by hand to what we made is undone within 5 s; what others add stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.builders import endpoint
from tests.support.operator import Operator, Space
from tests.support.waiting import consistently, eventually

pytestmark = pytest.mark.usefixtures("leader")
Object = dict[str, Any]

SOON = 20.0
"""Seconds, four times of what is promised, for two busy cores."""
"""Seconds within which a change is undone (the issue's bound)."""


@pytest.fixture
def made(space: Space) -> Space:
    space.cluster.create(endpoint(namespace=space.name, replicas=2))
    eventually(lambda: space.has_children("ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"))
    eventually(lambda: space.status().get("phase"))
    return space


def template(**fields: Any) -> Object:
    return {"spec": {"template": fields}}


def serving(space: Space) -> Object:
    found: Object = next(
        one for one in space.get("Deployment")["spec"]["template"]["spec"]["containers"] if one["name"] == "serve"
    )
    return found


def replaced_container(space: Space, **changes: Any) -> Object:
    """A merge patch replaces lists as a whole, as kubectl edit does."""
    return template(spec={"containers": [{**serving(space), **changes}]})


CHANGES: dict[str, tuple[str, Callable[[Space], Object]]] = {
    "replicas": ("Deployment", lambda _: {"spec": {"replicas": 7}}),
    "an image": ("Deployment", lambda s: replaced_container(s, image="example.com/other:1")),
    "arguments": ("Deployment", lambda s: replaced_container(s, args=["sleep"])),
    "a variable's value": (
        "Deployment",
        lambda s: replaced_container(s, env=[{"name": "SLIPWAY_ENDPOINT", "value": "x"}]),
    ),
    "a probe": ("Deployment", lambda s: replaced_container(s, readinessProbe=None)),
    "a container's port": (
        "Deployment",
        lambda s: replaced_container(s, ports=[{"name": "http", "containerPort": 9999}, *s_ports(s)[1:]]),
    ),
    "a security context": ("Deployment", lambda _: template(spec={"securityContext": None})),
    "the pods' labels": ("Deployment", lambda _: template(metadata={"labels": {"app.kubernetes.io/name": "x"}})),
    "a volume's kind": (
        "Deployment",
        lambda _: template(
            spec={"volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cache", "hostPath": {"path": "/x"}}]}
        ),
    ),
    "the selector": ("Service", lambda _: {"spec": {"selector": {"slipway.dev/endpoint": "other"}}}),
    "a key added to the selector": ("Service", lambda _: {"spec": {"selector": {"canary": "true"}}}),
    "the target of a port": ("Service", lambda _: {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 1}]}}),
    "the number of a port": ("Service", lambda _: {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 1}]}}),
    "the name of a port": ("Service", lambda _: {"spec": {"ports": [{"name": "x", "port": 80, "targetPort": "http"}]}}),
    "a token for pods": ("ServiceAccount", lambda _: {"automountServiceAccountToken": True}),
    "the budget": ("PodDisruptionBudget", lambda _: {"spec": {"maxUnavailable": 2}}),
    "the label that we select by": (
        "Service",
        lambda _: {"metadata": {"labels": {"app.kubernetes.io/managed-by": None, "slipway.dev/endpoint": None}}},
    ),
    "managed-by": ("Deployment", lambda _: {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}),
    "the label of the endpoint": ("Service", lambda _: {"metadata": {"labels": {"slipway.dev/endpoint": "other"}}}),
    "our annotation": ("Service", lambda _: {"metadata": {"annotations": {"slipway.dev/rendered": None}}}),
}


def s_ports(space: Space) -> list[Object]:
    ports: list[Object] = serving(space)["ports"]
    return ports


def essence(kind: str, obj: Object) -> Object:
    """What we render of a child, as it stands; without what the server counts."""
    labels = dict(obj["metadata"]["labels"].items())
    annotations = obj["metadata"].get("annotations", {})
    kept = {"labels": labels, "rendered": annotations.get("slipway.dev/rendered"), "spec": obj.get("spec")}
    return {**kept, "token": obj.get("automountServiceAccountToken")}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of(change: str, made: Space) -> None:
    kind, patch = CHANGES[change]
    before = essence(kind, made.get(kind))
    made.patch(kind, patch(made))
    eventually(lambda: essence(kind, made.get(kind)) == before, timeout=SOON)
    consistently(lambda: essence(kind, made.get(kind)) == before, duration=0.5)
    assert made.condition("Stalled") is None


@pytest.mark.parametrize("kind", ["ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"])
def test_a_deletion_of(kind: str, made: Space) -> None:
    before = made.get(kind)
    made.delete(kind)
    eventually(lambda: (made.find(kind) or before)["metadata"]["uid"] != before["metadata"]["uid"], timeout=SOON)


def test_what_others_add_stays(leader: Operator, made: Space) -> None:
    eventually(lambda: len(made.pods()) == 2)
    made.patch("Deployment", {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})
    made.patch(
        "Service", {"metadata": {"annotations": {"example.com/x": "y"}}, "spec": {"sessionAffinity": "ClientIP"}}
    )
    extra = [*made.get("Service")["spec"]["ports"], {"name": "extra", "port": 99, "targetPort": 99}]
    made.patch("Service", {"spec": {"ports": extra}})
    sidecar = {"name": "sidecar", "image": "example.com/sidecar:1"}
    made.patch("Deployment", template(spec={"containers": [serving(made), sidecar]}))
    before = len(leader.log())
    versions = [made.get(kind)["metadata"]["generation"] for kind in ("Deployment",)]
    consistently(
        lambda: (
            not [
                line
                for line in leader.log()[before:]
                if made.name in str(line.get("message")) and "applied" in line["message"]
            ]
        ),
        2,
    )
    assert [made.get("Deployment")["metadata"]["generation"]] == versions
    assert len(made.get("Service")["spec"]["ports"]) == 2
    made.patch("ModelEndpoint", {"spec": {"replicas": 3}})
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == 3, timeout=SOON)
    names = [one["name"] for one in made.get("Deployment")["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["serve", "sidecar"]
    assert made.get("Deployment")["metadata"]["labels"]["team"] == "a"
    assert made.get("Service")["spec"]["sessionAffinity"] == "ClientIP"


def test_three_hundred_interleaved_edits_of_another_writer_survive(made: Space) -> None:
    """Both sides write the same objects: ours by changing replicas and drift, theirs in annotations."""
    for number in range(300):
        made.patch("Deployment", {"metadata": {"annotations": {f"example.com/n{number % 50}": str(number)}}})
        if number % 20 == 0:
            made.patch("ModelEndpoint", {"spec": {"replicas": 2 + number // 20 % 3}})
        if number % 30 == 0:
            made.patch("Deployment", {"spec": {"revisionHistoryLimit": 9}})
    annotations = made.get("Deployment")["metadata"]["annotations"]
    found = {name: value for name, value in annotations.items() if name.startswith("example.com/")}
    assert found == {f"example.com/n{number % 50}": str(number) for number in range(250, 300)}
    wanted = made.get("ModelEndpoint")["spec"]["replicas"]
    eventually(lambda: made.get("Deployment")["spec"]["replicas"] == wanted, timeout=SOON)
    eventually(lambda: made.get("Deployment")["spec"]["revisionHistoryLimit"] == 2, timeout=SOON)


@pytest.mark.parametrize("change", ["a volume's kind", "the number of a port"])
def test_a_repair_that_apply_cannot_do_leaves_no_second_owner(change: str, made: Space) -> None:
    """Otherwise a field that the spec no longer has would stay for ever."""
    kind, patch = CHANGES[change]
    before = essence(kind, made.get(kind))
    made.patch(kind, patch(made))
    eventually(lambda: essence(kind, made.get(kind)) == before, timeout=SOON)
    eventually(lambda: "slipway-repair" not in str(made.get(kind)["metadata"]["managedFields"]), timeout=SOON)
    made.patch("ModelEndpoint", {"spec": {"podTemplate": {"env": [{"name": "A", "value": "1"}]}}})
    eventually(lambda: "A" in [one["name"] for one in serving(made)["env"]], timeout=SOON)
    made.patch("ModelEndpoint", {"spec": {"podTemplate": None}})
    eventually(lambda: "A" not in [one["name"] for one in serving(made)["env"]], timeout=SOON)
