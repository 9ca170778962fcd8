"""What the CRD accepts, a Deployment accepts, too, in a namespace that enforces Pod Security `restricted`.

The CRD is checked before pods are: where it lets through what pods may not have, the user learns of it
late, from a condition. Kubernetes' own rules for affinity are the known rest: too deep to repeat.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from slipway_operator.model_endpoint.render import children
from slipway_operator.model_endpoint.spec import parse
from slipway_operator.settings import Settings

from tests.support.apiserver import ROOT, Cluster
from tests.support.builders import endpoint

SETTINGS = Settings(namespace="slipway-system", pod_name="slipway-0", runtime_image="slipway-runtime:1")
SELECTOR = {"matchLabels": {"team": "search"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
TERM = {
    "topologyKey": "kubernetes.io/hostname",
    "labelSelector": SELECTOR,
    "namespaces": ["x"],
    "namespaceSelector": {},
}
NODE_TERM = {
    "matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}],
}
PODS = {
    "requiredDuringSchedulingIgnoredDuringExecution": [TERM],
    "preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "podAffinityTerm": TERM | {"matchLabelKeys": ["x"]}}
    ],
}
EVERY_FIELD: dict[str, Any] = {
    "labels": {"team": "search", "example.com/tier": "", "a.b-c_d": "V.1-x_y"},
    "annotations": {"example.com/note": "any text, even long: " + "ä" * 1000},
    "nodeSelector": {"kubernetes.io/os": "linux", "pool": ""},
    "tolerations": [
        {"operator": "Exists"},
        {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 30},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "PreferNoSchedule"},
    ],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [NODE_TERM]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": NODE_TERM}],
        },
        "podAffinity": PODS,
        "podAntiAffinity": PODS,
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 2,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "minDomains": 2,
            "labelSelector": SELECTOR,
            "matchLabelKeys": ["pod-template-hash"],
            "nodeAffinityPolicy": "Honor",
            "nodeTaintsPolicy": "Ignore",
        },
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"slipway.dev/endpoint": "emotions"}},
        },
    ],
    "priorityClassName": "high.priority",
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}, {"name": "other.registry"}],
    "env": [
        {"name": "A", "value": ""},
        {"name": "a.b-c_d", "value": "$(A)"},
        {"name": "HF_HUB_ENABLE_HF_TRANSFER", "value": "1"},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a.b-c_d", "optional": True}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['slipway.dev/endpoint']"}}},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a']"}}},
    ],
}
FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName")
STATUS = ("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
ENDPOINTS: dict[str, dict[str, Any]] = {
    "the least": {},
    "every field of the pod template": {"podTemplate": EVERY_FIELD},
    "every empty field": {
        "podTemplate": {name: type(value)() for name, value in EVERY_FIELD.items() if not isinstance(value, str)}
    },
    "the longest name": {"name": "n" + "a" * 44},
    "a token": {
        "model": {"id": "org/name", "revision": "refs/pr/1", "tokenSecretRef": {"name": "my.secret", "key": "a_B.c"}}
    },
    "a volume": {"model": {"uri": "pvc://my.claim/a path/b"}},
    "the top of a volume": {"model": {"uri": "pvc://claim"}},
    "many replicas": {"replicas": 1000},
    "paused": {"paused": True, "replicas": 2},
    "hardware in every spelling": {
        "resources": {
            "requests": {"cpu": "0.5", "memory": "1e9", "nvidia.com/gpu": 2},
            "limits": {
                "cpu": "1000m",
                "memory": "1.5Gi",
                "nvidia.com/gpu": "2",
                "ephemeral-storage": 0,
            },
        }
    },
    "limits only": {"resources": {"limits": {"cpu": 2, "memory": "4Gi", "amd.com/gpu": 1}}},
    "every pod field as a variable": {
        "podTemplate": {
            "env": [
                {"name": f"V{i}", "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for i, path in enumerate(FIELDS + STATUS)
            ]
        }
    },
    **{path.stem: yaml.safe_load(path.read_text())["spec"] for path in sorted((ROOT / "examples").glob("*.yaml"))},
}


@pytest.fixture(scope="module")
def restricted(cluster: Cluster) -> str:
    name = f"restricted-{uuid.uuid4().hex[:8]}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return name


@pytest.mark.parametrize("case", ENDPOINTS)
def test_its_children_are_accepted_without_a_warning(cluster: Cluster, restricted: str, case: str) -> None:
    reply = cluster.post(endpoint(namespace=restricted, **ENDPOINTS[case]), dry_run=True)
    assert reply.is_success, reply.json()["message"]
    for child in children(parse(reply.json()), SETTINGS):
        reply = cluster.post(child, dry_run=True)
        assert reply.is_success, f"{child['kind']}: {reply.json()['message']}"
        assert "warning" not in reply.headers, f"{child['kind']}: {reply.headers['warning']}"


@pytest.mark.parametrize("case", [case for case in ENDPOINTS if case != "every field of the pod template"])
def test_its_pods_are_admitted_where_pod_security_is_restricted(cluster: Cluster, restricted: str, case: str) -> None:
    """The case left out names a PriorityClass that does not exist, which admission would refuse first."""
    stored = cluster.post(endpoint(namespace=restricted, **ENDPOINTS[case]), dry_run=True).json()
    (deployment,) = [child for child in children(parse(stored), SETTINGS) if child["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    metadata = template["metadata"] | {"name": "pod", "namespace": restricted}
    reply = cluster.post(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}, dry_run=True
    )
    assert reply.is_success, reply.json()["message"]


def test_every_field_is_in_the_case_that_says_so() -> None:
    crd = yaml.safe_load(Path(ROOT / "crds" / "modelendpoints.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(EVERY_FIELD) == set(schema["properties"]["spec"]["properties"]["podTemplate"]["properties"])
