"""The chart against a real API server: objects are accepted, pods pass Pod Security, rights are what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import pytest

from tests.support.apiserver import Cluster, Object
from tests.support.builders import endpoint
from tests.support.chart import NAMESPACE, OPERATOR, install_rights, render
from tests.support.waiting import eventually

EVERYTHING: Object = {
    "image": {
        "repository": "registry.example.com/slipway/operator",
        "digest": "sha256:" + "0" * 64,
        "pullPolicy": "Always",
    },
    "runtime": {"image": {"repository": "registry.example.com/slipway/runtime", "tag": "1.2.3"}},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "huggingFace": {"endpoint": "https://hub.example.com"},
    "logLevel": "DEBUG",
    "serviceAccount": {"annotations": {"example.com/role": "inference"}},
    "networkPolicy": {"enabled": True},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
                ]
            }
        }
    },
    "podAnnotations": {"prometheus.io/scrape": "true"},
    "podLabels": {"team": "inference", "app.kubernetes.io/name": "not-this"},
    "extraEnv": [
        {"name": "SLIPWAY_WORKERS", "value": "4"},
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
}
VALUES: dict[str, Object] = {
    "default": {},
    "everything": EVERYTHING,
    "namespaces": {"watchNamespaces": ["team-a", "team-b"], "userRoles": {"create": False}, "replicas": 1},
}


@pytest.fixture(scope="module")
def restricted(cluster: Cluster) -> str:
    """The release's namespace, where Pod Security refuses, and warns of, anything that is not `restricted`."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    names = [NAMESPACE, "team-a", "team-b"]
    things = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}} for name in names]
    cluster.apply(*things)
    return NAMESPACE


def pods(objects: list[Object]) -> Iterator[Object]:
    """A Pod for each pod template among the objects."""
    for thing in objects:
        if thing["kind"] in ("Deployment", "Job"):
            template = deepcopy(thing["spec"]["template"])
            meta = template.get("metadata", {}) | {"name": f"{thing['metadata']['name']}-pod", "namespace": NAMESPACE}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


@pytest.mark.parametrize("upgrade", [False, True], ids=["install", "upgrade"])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_every_object_is_accepted_without_a_warning(
    cluster: Cluster, restricted: str, values: Object, upgrade: bool
) -> None:
    for thing in render(values, upgrade=upgrade):
        reply = cluster.post(thing, dry_run=True)
        assert reply.is_success, f"{thing['kind']} {thing['metadata']['name']}: {reply.json()['message']}"
        assert "warning" not in reply.headers, f"{thing['kind']}: {reply.headers['warning']}"


@pytest.mark.parametrize("upgrade", [False, True], ids=["install", "upgrade"])
def test_its_pods_pass_pod_security_restricted(cluster: Cluster, restricted: str, upgrade: bool) -> None:
    checked = list(pods(render(EVERYTHING, upgrade=upgrade)))
    assert len(checked) == (2 if upgrade else 1)
    for pod in checked:
        reply = cluster.post(pod, dry_run=True)
        assert reply.is_success, reply.json()["message"]


def test_pod_security_would_have_refused_a_lesser_pod(cluster: Cluster, restricted: str) -> None:
    pod = next(pods(render()))
    del pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    assert "violates PodSecurity" in cluster.post(pod, dry_run=True).json()["message"]


# -- rights ----------------------------------------------------------------------------------------------------------


def may(cluster: Cluster, user: str, verb: str, resource: str, namespace: str | None = None) -> bool:
    """Whether RBAC lets a user do this; asked of the API server."""
    path, _, subresource = resource.partition("/")
    plural, _, group = path.partition(".")
    attributes = {
        "verb": verb,
        "resource": plural,
        "group": group,
        "subresource": subresource,
        "namespace": namespace or "",
    }
    account = user.split(":")
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[2]}"] if len(account) == 4 else []
    spec: dict[str, Any] = {"user": user, "groups": groups, "resourceAttributes": attributes}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}
    reply = cluster.http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review).raise_for_status()
    return bool(reply.json()["status"]["allowed"])


@pytest.fixture(scope="module")
def installed(cluster: Cluster, restricted: str) -> None:
    install_rights(cluster)


FORBIDDEN = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("get", "configmaps"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("get", "pods/log"),
    ("delete", "deployments.apps"),
    ("delete", "services"),
    ("update", "modelendpoints.slipway.dev"),
    ("patch", "modelendpoints.slipway.dev"),
    ("delete", "modelendpoints.slipway.dev"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "serviceaccounts/token"),
    ("escalate", "clusterroles.rbac.authorization.k8s.io"),
    ("bind", "clusterroles.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("list", "nodes"),
    ("list", "namespaces"),
]


@pytest.mark.parametrize(("verb", "resource"), FORBIDDEN)
def test_the_operator_may_not(cluster: Cluster, installed: None, verb: str, resource: str) -> None:
    assert not may(cluster, OPERATOR, verb, resource)
    assert not may(cluster, OPERATOR, verb, resource, "default")
    assert not may(cluster, OPERATOR, verb, resource, NAMESPACE)


def test_the_operator_may_look_after_endpoints_everywhere(cluster: Cluster, installed: None) -> None:
    assert may(cluster, OPERATOR, "watch", "modelendpoints.slipway.dev")
    assert may(cluster, OPERATOR, "patch", "modelendpoints.slipway.dev/status", "default")
    assert may(cluster, OPERATOR, "patch", "deployments.apps", "default")
    assert may(cluster, OPERATOR, "create", "events", "default")


def test_leases_only_in_its_own_namespace(cluster: Cluster, installed: None) -> None:
    assert may(cluster, OPERATOR, "create", "leases.coordination.k8s.io", NAMESPACE)
    assert not may(cluster, OPERATOR, "create", "leases.coordination.k8s.io", "default")
    for verb in ("list", "watch", "patch"):  # only the one of its name
        assert not may(cluster, OPERATOR, verb, "leases.coordination.k8s.io", NAMESPACE)
    mine = ["get", "leases", "-n", NAMESPACE, "--field-selector"]
    cluster.kubectl(*mine, "metadata.name=slipway", user=OPERATOR)
    assert cluster.kubectl(*mine, "metadata.name=another", user=OPERATOR, check=False).returncode != 0


def test_an_operator_of_some_namespaces_has_no_rights_beyond(cluster: Cluster, restricted: str) -> None:
    values = {"watchNamespaces": ["team-a", "team-b"], "fullnameOverride": "tenant"}
    install_rights(cluster, values)
    tenant = f"system:serviceaccount:{NAMESPACE}:tenant"
    for namespace, allowed in (("team-a", True), ("team-b", True), ("default", False), (None, False)):
        assert may(cluster, tenant, "watch", "modelendpoints.slipway.dev", namespace) is allowed
        assert may(cluster, tenant, "patch", "deployments.apps", namespace) is allowed
    assert not may(cluster, tenant, "list", "customresourcedefinitions.apiextensions.k8s.io")


def test_the_operators_token_works(cluster: Cluster, installed: None) -> None:
    assert "modelendpoints" in cluster.kubectl("auth", "can-i", "--list", user=OPERATOR).stdout
    cluster.kubectl("get", "mep", "-A", user=OPERATOR, check=True)
    refused = cluster.kubectl("get", "secrets", "-A", user=OPERATOR, check=False)
    assert "forbidden" in refused.stderr.lower()


# -- people ----------------------------------------------------------------------------------------------------------


def test_the_clusters_own_roles_cover_endpoints(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Aggregation is the work of a controller, so this needs a cluster with controllers."""
    with Cluster(tmp_path_factory.mktemp("people"), controllers=True) as cluster:
        cluster.install_crds()
        install_rights(cluster)
        for role in ("view", "edit"):
            cluster.kubectl("create", "rolebinding", role, "-n", "default", f"--clusterrole={role}", f"--user={role}er")
        # Each of our roles reaches the cluster's roles in its own time.
        for user, verb, resource in (
            ("viewer", "list", "modelendpoints.slipway.dev"),
            ("editer", "create", "modelendpoints.slipway.dev"),
            ("editer", "get", "modelendpoints.slipway.dev"),
            ("editer", "get", "modelendpoints.slipway.dev/scale"),
        ):
            eventually(partial(may, cluster, user, verb, resource, "default"))
        assert not may(cluster, "viewer", "create", "modelendpoints.slipway.dev", "default")
        assert not may(cluster, "editer", "patch", "modelendpoints.slipway.dev/status", "default")
        cluster.create(endpoint("mine", namespace="default"))
        cluster.kubectl("scale", "mep/mine", "--replicas=2", user="editer")
        assert "mine" in cluster.kubectl("get", "mep", user="viewer").stdout
