"""containerd with its own configuration, and what it keeps between runs of the cluster.

Its root (images and snapshots) stays: pulling 5 GB anew would cost a minute at every start. Containers of earlier runs
are removed from its metadata before the kubelet sees them. See operator/decisions/0006-local-cluster-storage.md.
"""

import json
import re
import shutil
from pathlib import Path

from localimages import oci

from . import mountspace, paths, processes
from .say import eventually, say
from .shell import run

SOCKET = paths.RUN / "containerd" / "containerd.sock"
_NAME = "containerd"
_CNI_PLUGINS = Path("/usr/lib/cni")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# In containerd's root while it is in use: the boot in which it was. A crash of the machine, unlike one of a process,
# may have lost writes that nobody synced.
_IN_USE = paths.CONTAINERD_ROOT / "in-use-since-boot"
_NAMESPACE = "k8s.io"


def _configuration(*, cri: bool) -> str:
    return f"""
version = 2
root = "{paths.CONTAINERD_ROOT / "root"}"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"{"" if cri else ', "io.containerd.grpc.v1.cri"'}]

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{paths.PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a sandbox dies with "can't get final child's PID from pipe: EOF"; harmless where it is
  # there.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  max_concurrent_downloads = 3
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    # The registry keeps the compressed layers; a second copy here would be 3 GB for nothing.
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_PLUGINS}"
    conf_dir = "{paths.RUN / "cni-conf"}"
"""


def _network() -> dict[str, object]:
    """The pods' network: a bridge, addresses by host-local. No ipMasq: nothing inside needs the outside. No portmap: no
    hostPort.
    """
    addresses = {
        "type": "host-local",
        "dataDir": str(paths.RUN / "cni" / "networks"),
        "ranges": [[{"subnet": paths.POD_NETWORK, "rangeStart": "10.244.0.10", "gateway": paths.NODE_IP}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": paths.BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    return {"cniVersion": "0.4.0", "name": paths.CGROUP, "plugins": [bridge]}


def _start(*, cri: bool) -> None:
    configuration = paths.RUN / "containerd.toml"
    configuration.write_text(_configuration(cri=cri))
    (paths.RUN / "cni-conf").mkdir(exist_ok=True)
    (paths.RUN / "cni-conf" / "10-slipway.conflist").write_text(json.dumps(_network()))
    paths.CONTAINERD_ROOT.mkdir(parents=True, exist_ok=True)
    _IN_USE.write_text(_BOOT.read_text())
    processes.start(_NAME, mountspace.inside(["containerd", "--config", configuration, "--log-level", "warn"]))
    eventually(serves, "containerd serves", 60, lambda: processes.died(_NAME))


def ctr(*words: str, check: bool = True) -> str:
    """Runs ctr on our containerd."""
    return run(["ctr", "--address", SOCKET, "--namespace", _NAMESPACE, *words], check=check, timeout=60)


def serves() -> bool:
    """Whether containerd answers on its socket."""
    return SOCKET.exists() and "Server:" in run(["ctr", "--address", SOCKET, "--timeout", "2s", "version"], check=False)


def ensure(*, fresh: bool) -> None:
    """Starts containerd unless it runs. `fresh`: first forgets the containers that an earlier run left."""
    mountspace.ensure()
    if processes.alive(_NAME):
        return
    if fresh:
        _distrust_after_a_crash_of_the_machine()
        if (paths.CONTAINERD_ROOT / "root").exists():
            _forget_containers()
    _start(cri=True)


def _distrust_after_a_crash_of_the_machine() -> None:
    if _IN_USE.exists() and _IN_USE.read_text() != _BOOT.read_text():
        say("the machine went down while the cluster ran: images are pulled anew")
        shutil.rmtree(paths.CONTAINERD_ROOT)


def _forget_containers() -> None:
    """Removes what is left of containers, in a containerd that has not yet loaded them: the CRI plugin would try to
    revive them.
    """
    shutil.rmtree(paths.CONTAINERD_ROOT / "root" / "io.containerd.grpc.v1.cri", ignore_errors=True)
    _start(cri=False)
    for lease in ctr("leases", "list", "--quiet").split():
        # A pull that was cut short holds a lease for a day; without it the next garbage collection takes the
        # half-unpacked layers.
        ctr("leases", "delete", lease, check=False)
    # Also removes the container's snapshot.
    if containers := ctr("containers", "list", "--quiet").split():
        ctr("containers", "delete", *containers, check=False)
    _forget_images()
    processes.stop(_NAME)


def _forget_images() -> None:
    """Removes images that the local registry no longer has: those on superseded dependencies are 6 GB each."""
    hub = oci.Registry(paths.REGISTRY)
    rows = [line.split() for line in ctr("images", "list").splitlines()[1:]]
    # One image has several names: by tag, by digest, and the kubelet's.
    by_digest: dict[str, list[str]] = {}
    for row in rows:
        by_digest.setdefault(next(word for word in row[1:] if word.startswith("sha256:")), []).append(row[0])
    ours = f"{paths.REGISTRY}/"
    for digest, names in by_digest.items():
        repositories = {re.split("[:@]", n.removeprefix(ours))[0] for n in names if n.startswith(ours)}
        if not any(hub.has(f"{paths.REGISTRY}/{repository}:{digest}") for repository in repositories):
            ctr("images", "remove", "--sync", *names, check=False)


def rest() -> None:
    """Marks the root as at rest: everything that matters is on the disk. Called when containerd has ended in good
    order.
    """
    if _IN_USE.exists():
        run(["sync", "--file-system", paths.CONTAINERD_ROOT], check=False)
        _IN_USE.unlink()
