"""The default StorageClass: local-path-provisioner as a process of this machine, volumes as folders below STATE."""

import json

from . import paths, pki, processes, tools
from .controlplane import kubectl

_NAMESPACE = "local-path-storage"
_CLASS = "local-path"
_CONFIG_MAP = "local-path-config"
# Writable for whoever the pod runs as: a hostPath volume gets no fsGroup from the kubelet.
_SETUP = '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n'
_TEARDOWN = '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n'


def _objects() -> list[dict[str, object]]:
    core = ["nodes", "persistentvolumeclaims", "configmaps", "pods", "pods/log"]
    rules = [
        {"apiGroups": [""], "resources": core, "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": [""],
            "resources": ["persistentvolumes"],
            "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete"]},
        {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get", "list", "watch", "create", "update", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "patch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
    ]
    name = {"name": "slipway:local-path-provisioner"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "helper", "namespace": _NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _CONFIG_MAP, "namespace": _NAMESPACE},
            "data": {"setup": _SETUP, "teardown": _TEARDOWN},
        },
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": name, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", **name}],
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": _CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    ]


def _helper_pod() -> dict[str, object]:
    container = {"name": "helper", "image": paths.BUSYBOX_IMAGE, "imagePullPolicy": "IfNotPresent"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper"},
        "spec": {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0},
    }


def ensure() -> None:
    """Applies the StorageClass and starts the provisioner unless it runs."""
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects()}))
    if processes.alive("local-path-provisioner"):
        return
    paths.VOLUMES.mkdir(parents=True, exist_ok=True)
    node_paths = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(paths.VOLUMES)]}]
    configuration, helper = paths.STATE / "local-path.json", paths.STATE / "local-path-helper.json"
    configuration.write_text(json.dumps({"nodePathMap": node_paths}))
    helper.write_text(json.dumps(_helper_pod()))
    processes.start(
        "local-path-provisioner",
        [
            tools.binary("local-path-provisioner"),
            "start",
            f"--kubeconfig={pki.kubeconfig('local-path')}",
            f"--config={configuration}",
            f"--helper-pod-file={helper}",
            f"--helper-image={paths.BUSYBOX_IMAGE}",
            f"--namespace={_NAMESPACE}",
            "--service-account-name=helper",
            f"--configmap-name={_CONFIG_MAP}",
        ],
    )
