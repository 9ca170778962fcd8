"""Where everything of the local cluster lives, and the addresses and ports that it uses.

Three places, by how long their content is worth keeping:

* `RUN`: dies with the cluster. Sockets (their paths must be short), pid files, CNI state, records. Fixed for the whole
  machine, because there is one such cluster per machine whatever checkout started it.
* `STATE`: dies with the cluster, may be large. etcd, the kubelet's pods, volumes, logs.
* `CACHE`: survives. Built binaries, the registry's blobs, containerd's images. `cluster-purge` removes it.
"""

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = REPOSITORY / "hack" / "cluster"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway"
BUILDS = CACHE / "bin"
REGISTRY_DATA = CACHE / "registry"
CONTAINERD_ROOT = CACHE / "containerd"

RUN = Path("/run/slipway-cluster")
STATE = CACHE / "cluster"
LOGS = STATE / "logs"
PKI = STATE / "pki"
VOLUMES = STATE / "volumes"

# What a checkout sees of the cluster: its kubeconfig, and links to the audit log, the logs and the binaries.
CHECKOUT = REPOSITORY / ".cache" / "cluster"
KUBECONFIG = CHECKOUT / "kubeconfig"
BIN = REPOSITORY / ".cache" / "bin"

BRIDGE = "slipway0"
NODE = "slipway-node"
NODE_IP = "10.244.0.1"
POD_NETWORK = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
NFT_TABLE = "slipway-cluster"
CGROUP = "slipway-cluster"
API = f"https://{NODE_IP}:6443"

REGISTRY_PORT = int(os.environ.get("SLIPWAY_REGISTRY_PORT", "5001"))
REGISTRY = f"localhost:{REGISTRY_PORT}"
ETCD_PORT, ETCD_PEER_PORT = 12379, 12380
# (address, port): who listens there. All on addresses that no other machine reaches.
PORTS = {
    ("127.0.0.1", REGISTRY_PORT): "docker-registry",
    ("127.0.0.1", ETCD_PORT): "etcd",
    ("127.0.0.1", ETCD_PEER_PORT): "etcd",
    ("127.0.0.1", 10248): "kubelet",
    ("127.0.0.1", 10249): "kube-proxy",
    ("127.0.0.1", 10256): "kube-proxy",
    ("127.0.0.1", 10257): "kube-controller-manager",
    ("127.0.0.1", 10259): "kube-scheduler",
    ("127.0.0.1", 18181): "coredns",
}

PAUSE_IMAGE = f"{REGISTRY}/pause:1"
BUSYBOX_IMAGE = f"{REGISTRY}/busybox:1"


def external() -> str | None:
    """The kubeconfig of a cluster that is not ours to start or stop (`SLIPWAY_KUBECONFIG`), or None."""
    given = os.environ.get("SLIPWAY_KUBECONFIG")
    return given if given and Path(given).resolve() != KUBECONFIG.resolve() else None


def require_python() -> None:
    """Ends with a sentence on an interpreter that is too old for this code."""
    if sys.version_info < (3, 11):  # noqa: UP036 the check is for people whose python3 is older
        sys.exit(f"hack/cluster needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}")
