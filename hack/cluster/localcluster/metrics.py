"""metrics-server, built and started only when somebody asks: a process of this machine behind the aggregated metrics
API.
"""

import base64
import json

from . import paths, pki, processes, tools
from .controlplane import kubectl
from .say import eventually, say

_NAME = "metrics-server"
_PORT = 10443


def _objects() -> list[dict[str, object]]:
    meta = {"name": _NAME, "namespace": "kube-system"}
    role = {"name": "slipway:metrics-server"}
    user = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", **role}]
    rbac = "rbac.authorization.k8s.io/v1"
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {
            "apiGroups": [""],
            "resources": ["pods", "nodes", "namespaces", "configmaps"],
            "verbs": ["get", "list", "watch"],
        },
    ]
    delegator = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"}
    reader = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": "extension-apiserver-authentication-reader",
    }
    return [
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": role, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **role},
            "subjects": user,
        },
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "slipway:metrics-server:auth"},
            "roleRef": delegator,
            "subjects": user,
        },
        {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": {"name": "slipway:metrics-server:reader", "namespace": "kube-system"},
            "roleRef": reader,
            "subjects": user,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": _PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                **meta,
                "labels": {
                    "kubernetes.io/service-name": _NAME,
                    "endpointslice.kubernetes.io/managed-by": "slipway-cluster",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [paths.NODE_IP], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": _PORT, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": _NAME, "namespace": "kube-system"},
                "caBundle": base64.b64encode(pki.certificate("ca").read_bytes()).decode(),
            },
        },
    ]


def wanted() -> bool:
    """Whether somebody has asked for it in this run of the cluster."""
    return processes.recorded(_NAME) is not None


def _serves() -> bool:
    items = kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes", check=False)
    return bool(items) and bool(json.loads(items).get("items"))


def ensure() -> None:
    """Builds and starts metrics-server; returns when it has figures of the node."""
    tools.build(tools.METRICS_SERVER)
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects()}))
    if not processes.alive(_NAME):
        kubeconfig = pki.kubeconfig("metrics-server")
        processes.start(
            _NAME,
            [
                tools.binary(_NAME),
                f"--kubeconfig={kubeconfig}",
                f"--authentication-kubeconfig={kubeconfig}",
                f"--authorization-kubeconfig={kubeconfig}",
                f"--tls-cert-file={pki.certificate('metrics-server')}",
                f"--tls-private-key-file={pki.key('metrics-server')}",
                f"--kubelet-certificate-authority={pki.certificate('ca')}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--bind-address={paths.NODE_IP}",
                f"--secure-port={_PORT}",
                "--metric-resolution=15s",
            ],
        )
    eventually(_serves, "metrics-server has figures", 120, lambda: processes.died(_NAME))
    say("metrics-server serves: kubectl top nodes, kubectl top pods")
