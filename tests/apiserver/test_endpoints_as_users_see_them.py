"""kubectl's view of the API: defaults, typos, scale, columns, documentation, examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ROOT, Cluster
from tests.support.builders import condition, endpoint

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
CRD = yaml.safe_load((ROOT / "crds" / "modelendpoints.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def write_status(cluster: Cluster, name: str, namespace: str, manager: str = "slipway", **status: Any) -> None:
    """Server-side apply of a status, as the operator does it."""
    part = {"apiVersion": "slipway.dev/v1alpha1", "kind": "ModelEndpoint", "metadata": {"name": name}, "status": status}
    path = f"/apis/slipway.dev/v1alpha1/namespaces/{namespace}/modelendpoints/{name}/status"
    reply = cluster.http.patch(
        path,
        params={"fieldManager": manager, "fieldValidation": "Strict"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        content=json.dumps(part),
    )
    assert reply.is_success, reply.text


# -- defaults and unknown fields ---------------------------------------------------------------------------------


def test_what_is_left_out_has_a_default(cluster: Cluster, namespace: str) -> None:
    made = cluster.create(endpoint(namespace=namespace, model={"id": "org/name", "tokenSecretRef": {"name": "s"}}))
    assert made["spec"] == {
        "model": {"id": "org/name", "tokenSecretRef": {"name": "s", "key": "token"}},
        "paused": False,
        "replicas": 1,
    }


def test_a_status_written_with_the_spec_is_ignored(cluster: Cluster, namespace: str) -> None:
    made = cluster.create(endpoint(namespace=namespace) | {"status": {"phase": "Running"}})
    assert "status" not in made


TYPOS = [
    ({"replica": 2}, "spec.replica"),
    ({"model": {"id": "a/b", "revison": "main"}}, "spec.model.revison"),
    ({"podTemplate": {"nodeselector": {}}}, "spec.podTemplate.nodeselector"),
    ({"podTemplate": {"tolerations": [{"keys": "x"}]}}, "spec.podTemplate.tolerations[0].keys"),
    (
        {"podTemplate": {"affinity": {"podAffinity": {"required": []}}}},
        "spec.podTemplate.affinity.podAffinity.required",
    ),
    ({"resources": {"claims": []}}, "spec.resources.claims"),
    ({"autoscaling": {"maxReplicas": 2}}, "spec.autoscaling"),
]


@pytest.mark.parametrize(("change", "path"), TYPOS)
def test_kubectl_refuses_an_unknown_field_by_its_path(
    cluster: Cluster, namespace: str, change: dict[str, Any], path: str
) -> None:
    text = yaml.safe_dump(endpoint(**change))
    done = cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=text, check=False)
    assert f'unknown field "{path}"' in done.stderr
    done = cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=text, check=False)
    assert f'unknown field "{path}"' in done.stderr


@pytest.mark.parametrize(("change", "path"), TYPOS)
def test_server_side_apply_refuses_an_unknown_field_by_its_path(
    cluster: Cluster, namespace: str, change: dict[str, Any], path: str
) -> None:
    text = yaml.safe_dump(endpoint(**change))
    done = cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", stdin=text, check=False)
    last = path.rpartition(".")[2]
    assert done.returncode != 0
    assert last in done.stderr
    assert "field not declared in schema" in done.stderr or "unknown field" in done.stderr


def test_no_place_accepts_whatever_is_written() -> None:
    assert "x-kubernetes-preserve-unknown-fields" not in json.dumps(CRD)


# -- server-side apply: several writers ----------------------------------------------------------------------------


def test_two_writers_of_conditions_keep_each_others(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("shared", namespace=namespace))
    write_status(cluster, "shared", namespace, "slipway", phase="Running", conditions=[condition("Ready")])
    write_status(cluster, "shared", namespace, "somebody", conditions=[condition("Audited")])
    write_status(cluster, "shared", namespace, "slipway", phase="Failed", conditions=[condition("Stalled")])
    status = cluster.get("mep", "shared", namespace)["status"]
    assert status["phase"] == "Failed"
    assert {one["type"] for one in status["conditions"]} == {"Audited", "Stalled"}


def test_two_writers_of_environment_variables_keep_each_others(cluster: Cluster, namespace: str) -> None:
    for manager, name in (("alice", "A"), ("bob", "B"), ("alice", "C")):
        part = endpoint("shared", podTemplate={"env": [{"name": name, "value": "1"}]})
        text = yaml.safe_dump(part)
        cluster.kubectl("apply", "--server-side", "--field-manager", manager, "-n", namespace, "-f", "-", stdin=text)
    env = cluster.get("mep", "shared", namespace)["spec"]["podTemplate"]["env"]
    assert {one["name"] for one in env} == {"B", "C"}


def test_a_phase_that_does_not_exist_cannot_be_written(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("x", namespace=namespace))
    with pytest.raises(AssertionError, match="Unsupported value"):
        write_status(cluster, "x", namespace, phase="Broken")


# -- kubectl scale, get, explain -----------------------------------------------------------------------------------


def test_kubectl_scale_sets_and_reads_replicas(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("x", namespace=namespace))
    write_status(cluster, "x", namespace, replicas=1, selector="slipway.dev/endpoint=x")
    cluster.kubectl("scale", "mep/x", "--replicas=3", "-n", namespace)
    assert cluster.get("mep", "x", namespace)["spec"]["replicas"] == 3
    scale = cluster.http.get(f"/apis/slipway.dev/v1alpha1/namespaces/{namespace}/modelendpoints/x/scale").json()
    assert scale["status"] == {"replicas": 1, "selector": "slipway.dev/endpoint=x"}
    cluster.kubectl("scale", "mep/x", "--replicas=0", "-n", namespace)
    assert cluster.get("mep", "x", namespace)["spec"]["replicas"] == 0


@pytest.mark.parametrize("replicas", ["-1", "1001"])
def test_kubectl_scale_out_of_range_is_refused(cluster: Cluster, namespace: str, replicas: str) -> None:
    cluster.create(endpoint("x", namespace=namespace))
    done = cluster.kubectl("scale", "mep/x", f"--replicas={replicas}", "-n", namespace, check=False)
    assert done.returncode != 0
    assert cluster.get("mep", "x", namespace)["spec"]["replicas"] == 1


def columns(cluster: Cluster, namespace: str, *flags: str) -> list[dict[str, str]]:
    """The table that kubectl prints, as one dictionary per line; cells are cut where the headings start."""
    head, *lines = cluster.kubectl("get", "mep", "-n", namespace, *flags).stdout.splitlines()
    names = head.split()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], None]
    return [{n: line[s:e].strip() for n, s, e in zip(names, starts, ends, strict=True)} for line in lines]


def test_kubectl_get_says_what_is_wrong(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("good", namespace=namespace, model={"id": "org/name"}))
    cluster.create(endpoint("bad", namespace=namespace, model={"uri": "pvc://models/x"}, replicas=2))
    write_status(
        cluster,
        "good",
        namespace,
        phase="Running",
        url="http://good.ns.svc",
        replicas=1,
        readyReplicas=1,
        model={"task": "fill-mask"},
        conditions=[condition("Ready", reason="Available"), condition("Serving")],
    )
    said = "pod bad-1: the volume has no config.json"
    write_status(
        cluster, "bad", namespace, phase="Failed", conditions=[condition("Ready", False, "ModelNotFound", said)]
    )
    bad, good = columns(cluster, namespace)
    assert list(good) == ["NAME", "PHASE", "READY", "REASON", "URL", "AGE"]
    assert {**good, "AGE": ""} == {
        "NAME": "good",
        "PHASE": "Running",
        "READY": "True",
        "REASON": "Available",
        "URL": "http://good.ns.svc",
        "AGE": "",
    }
    assert (bad["PHASE"], bad["READY"], bad["REASON"]) == ("Failed", "False", "ModelNotFound")
    bad, good = columns(cluster, namespace, "-o", "wide")
    assert bad["MESSAGE"] == said
    assert (bad["MODEL"], bad["REPLICAS"]) == ("pvc://models/x", "2")
    assert (good["MODEL"], good["TASK"], good["SERVING"], good["AVAILABLE"]) == ("org/name", "fill-mask", "True", "1")


def test_short_name_and_category(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("x", namespace=namespace))
    assert "x" in cluster.kubectl("get", "mep", "-n", namespace).stdout
    assert "x" in cluster.kubectl("get", "slipway", "-n", namespace).stdout


def test_kubectl_wait_for_ready_works(cluster: Cluster, namespace: str) -> None:
    cluster.create(endpoint("x", namespace=namespace))
    waiting = ["wait", "--for=condition=Ready", "mep/x", "-n", namespace]
    assert cluster.kubectl(*waiting, "--timeout=1s", check=False).returncode != 0
    write_status(cluster, "x", namespace, conditions=[condition("Ready")])
    cluster.kubectl(*waiting, "--timeout=10s")


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below a schema, with its path."""
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from fields(part, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield f"{path}{mark}", schema[key]
            yield from fields(schema[key], f"{path}{mark}")


def test_every_field_has_a_description() -> None:
    # Elements of Kubernetes' own plain lists and maps are documented by the list itself.
    bare = [
        path
        for path, part in fields(SCHEMA)
        if not part.get("description") and path != ".metadata" and part.get("type") != "string"
    ]
    assert bare == []
    unsaid = [
        path
        for path, part in fields(SCHEMA)
        if not part.get("description") and path != ".metadata" and not path.endswith(("[]", "{}"))
    ]
    assert unsaid == []


def test_kubectl_explain_documents_every_field(cluster: Cluster) -> None:
    listed = cluster.kubectl("explain", "mep.spec", "--recursive").stdout
    names = {path.rpartition(".")[2].rstrip("[]{}") for path, _ in fields(SCHEMA["properties"]["spec"])}
    assert [name for name in sorted(names) if name and f"{name}\t<" not in listed] == []
    text = cluster.kubectl("explain", "mep.spec.model.tokenSecretRef.key").stdout
    assert "Key in the Secret whose value is the token." in text
    assert "<no description>" not in cluster.kubectl("explain", "mep.spec").stdout


# -- examples --------------------------------------------------------------------------------------------------------


def test_there_is_an_example_of_every_kind_of_use() -> None:
    assert [path.name[:2] for path in EXAMPLES] == [f"{number:02}" for number in range(1, 16)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_applies_cleanly(cluster: Cluster, namespace: str, path: Path) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", str(path))
    done = cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", str(path))
    assert "Warning" not in done.stderr
    wanted = yaml.safe_load(path.read_text())
    live = cluster.get("mep", wanted["metadata"]["name"], namespace)
    assert live["spec"] == {"replicas": 1, "paused": False} | wanted["spec"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_holds_no_secret(path: Path) -> None:
    assert all(thing["kind"] == "ModelEndpoint" for thing in yaml.safe_load_all(path.read_text()))
