"""A mount namespace for containerd and the kubelet.

Both mount a lot and write to paths that no flag moves (/run/containerd/s, /var/lib/kubelet/device-plugins,
/var/log/pods, /var/lib/cni). In a namespace of their own these are folders of ours, and every mount is gone with the
last process, however it ended.
"""

from pathlib import Path

from . import paths, processes
from .say import eventually
from .shell import run

HOLDER = "mountspace"
KUBELET_ROOT = Path("/var/lib/kubelet")

# Path inside the namespace → folder of ours that is mounted there.
_PLACES = {
    Path("/run/containerd"): paths.RUN / "containerd",
    Path("/var/lib/cni"): paths.RUN / "cni",
    KUBELET_ROOT: paths.STATE / "kubelet",
    Path("/var/log/pods"): paths.LOGS / "pods",
    Path("/var/log/containers"): paths.LOGS / "containers",
}

# rshared: the kubelet's mounts have to reach the containers; it is a peer group of this namespace alone.
_SCRIPT = """
set -e
mount --make-rprivate /
while [ $# -gt 0 ]; do mount --bind "$2" "$1"; shift 2; done
mount --make-rshared /
touch "$READY"
exec sleep infinity
"""


def ensure() -> None:
    """Starts the process that holds the namespace open, unless one of the namespace's processes still does."""
    if inhabitant() is not None:
        if not processes.alive(HOLDER):
            processes.start(HOLDER, inside(["sleep", "infinity"]))
        return
    ready = paths.RUN / "mountspace.ready"
    ready.unlink(missing_ok=True)
    words: list[str] = []
    for place, folder in _PLACES.items():
        # The mount points must exist on the machine; those that we made are removed again by cluster-down.
        if not place.exists():
            place.mkdir(parents=True)
            with (paths.RUN / "made-folders").open("a") as record:
                record.write(f"{place}\n")
        folder.mkdir(parents=True, exist_ok=True)
        words += [str(place), str(folder)]
    processes.start(HOLDER, ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", *words], env={"READY": str(ready)})
    eventually(ready.exists, "the mount namespace is there", 20, lambda: processes.died(HOLDER))


def inside(argv: list[str | Path]) -> list[str | Path]:
    """The command that runs `argv` in the namespace."""
    pid = inhabitant()
    if pid is None:
        raise RuntimeError("no process holds the cluster's mount namespace; run cluster-up")
    return ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--", *argv]


def inhabitant() -> int | None:
    """The pid of a recorded process that lives in the namespace; None when the namespace is gone."""
    for name in (HOLDER, "containerd", "kubelet"):
        record = processes.recorded(name)
        if record and record.alive():
            return record.pid
    return None


def remove_made_folders() -> None:
    """Removes the mount points that `ensure` made, if nobody has put anything into them."""
    record = paths.RUN / "made-folders"
    if record.exists():
        for line in reversed(record.read_text().splitlines()):
            run(["rmdir", "--", line], check=False)
        record.unlink()
