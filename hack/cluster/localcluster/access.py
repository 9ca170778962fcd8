"""The rights of those parts that run as processes with an identity of their own."""

import json

from .controlplane import kubectl

_RBAC = "rbac.authorization.k8s.io"


def _dns_rules() -> list[dict[str, object]]:
    return [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]


def ensure() -> None:
    """Applies the roles."""
    name = {"name": "slipway:coredns"}
    items = [
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": name, "rules": _dns_rules()},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", **name},
            "subjects": [{"apiGroup": _RBAC, "kind": "User", **name}],
        },
        # kube-proxy's role is there from the start; its binding is usually made by whoever installs a cluster.
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "slipway:kube-proxy"},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "system:node-proxier"},
            "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": "system:node-proxier"}],
        },
    ]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
