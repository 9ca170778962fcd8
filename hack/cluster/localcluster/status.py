"""What runs, what does not, and where things are."""

import shutil
from collections.abc import Callable

from . import controlplane, kubelet, paths, processes, registry
from .controlplane import answers

_PARTS = (
    registry.NAME,
    "mountspace",
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "local-path-provisioner",
)
_HEALTH: dict[str, Callable[[], bool]] = {
    registry.NAME: lambda: answers(f"http://{paths.REGISTRY}/v2/"),
    "etcd": controlplane.etcd_ready,
    "kube-apiserver": controlplane.api_ready,
    "kubelet": kubelet.node_ready,
    "kube-proxy": lambda: answers("http://127.0.0.1:10256/healthz"),
    "coredns": lambda: answers("http://127.0.0.1:18181/ready"),
}


def show() -> bool:
    """Prints one line per part; returns whether all of them run and are healthy."""
    good = True
    for name in (*_PARTS, *(["metrics-server"] if processes.recorded("metrics-server") else [])):
        record = processes.recorded(name)
        if record is None:
            state = "not started"
        elif not record.alive():
            state = f"has ended (see {paths.LOGS / name}.log); `make cluster-up` starts it again"
        elif name in _HEALTH and not _HEALTH[name]():
            state = f"runs as process {record.pid}, but is not healthy (see {paths.LOGS / name}.log)"
        else:
            state = f"runs as process {record.pid}"
        good = good and state.startswith("runs") and "not healthy" not in state
        print(f"{name:24} {state}")
    if good:
        print(f"{'kubeconfig':24} {paths.KUBECONFIG}")
        print(f"{'registry':24} {paths.REGISTRY}")
        print(f"{'audit log':24} {paths.CHECKOUT / 'audit.log'}")
    free = shutil.disk_usage(paths.CACHE if paths.CACHE.exists() else "/").free
    print(f"{'cache':24} {paths.CACHE} ({free / 1024**3:.0f} GiB free there)")
    return good
