"""The kubelet: one node, with two graphics processors that exist on paper only."""

import json

from . import containerd, mountspace, paths, pki, processes, tools
from .controlplane import answers, kubectl
from .say import eventually

GPUS = 2


def _configuration() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": paths.NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate("kubelet")),
        "tlsPrivateKeyFile": str(pki.key("kubelet")),
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "clusterDNS": [paths.NODE_IP],
        "clusterDomain": "cluster.local",
        # The machine's resolver is none of the pods' business: nothing goes out.
        "resolvConf": "",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{paths.CGROUP}",
        "maxPods": 200,
        # Nothing of iptables is used; so nothing is made that would have to be removed.
        "makeIPTablesUtilChains": False,
        "volumePluginDir": str(paths.STATE / "volume-plugins"),
        # Absolute figures: on a disk that is 85 % full there is still room, and percentages would have the kubelet tidy
        # away images that the next test needs and evict pods. 100 switches the removal of images off.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1Gi",
            "imagefs.available": "1Gi",
            "nodefs.inodesFree": "1%",
        },
        "enforceNodeAllocatable": ["pods"],
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "nodeStatusUpdateFrequency": "5s",
        # How soon a changed Secret is in a pod's files: a minute by default, which every test of one would wait for.
        "syncFrequency": "15s",
        "shutdownGracePeriod": "0s",
    }


def ensure() -> None:
    """Starts the kubelet unless it runs; returns when it is healthy."""
    if not processes.alive("kubelet"):
        configuration = paths.STATE / "kubelet.json"
        configuration.write_text(json.dumps(_configuration()))
        processes.start(
            "kubelet",
            mountspace.inside(
                [
                    tools.binary("kubelet"),
                    f"--config={configuration}",
                    f"--kubeconfig={pki.kubeconfig('kubelet')}",
                    f"--root-dir={mountspace.KUBELET_ROOT}",
                    f"--hostname-override={paths.NODE}",
                    f"--node-ip={paths.NODE_IP}",
                ]
            ),
        )
    eventually(
        lambda: answers("http://127.0.0.1:10248/healthz"),
        "the kubelet is healthy",
        60,
        lambda: processes.died("kubelet"),
    )


def node_ready() -> bool:
    """Whether the API server reports the node as ready."""
    status = kubectl(
        "get", "node", paths.NODE, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}', check=False
    )
    return status == "True"


def await_node() -> None:
    """Returns once the node is ready and has its graphics processors."""
    eventually(node_ready, "the node is ready", 90, lambda: processes.died("kubelet"))
    _give_gpus()
    # Without it the first pod after cluster-up is refused: the controller that makes it has only just started.
    eventually(_default_service_account, "the default ServiceAccount is there", 60)


def _default_service_account() -> bool:
    return bool(kubectl("get", "serviceaccount", "default", "--namespace=default", "--output=name", check=False))


def _give_gpus() -> None:
    """Adds `nvidia.com/gpu` to the node. A kubelet that starts anew takes it away, so this is done after every
    start.
    """
    amounts = {"nvidia.com/gpu": str(GPUS)}
    kubectl(
        "patch",
        "node",
        paths.NODE,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": {"capacity": amounts, "allocatable": amounts}}),
    )
