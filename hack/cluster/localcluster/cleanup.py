"""Removing everything that a run of the cluster left, however it ended."""

import fcntl
import shutil
from pathlib import Path

from . import cgroups, containerd, mounts, mountspace, network, paths, processes, registry
from .say import say

# The kubelet first, lest it restarts what ends; containerd last but one, the registry by itself.
_ORDER = (
    "kubelet",
    "kube-proxy",
    "kube-controller-manager",
    "kube-scheduler",
    "coredns",
    "local-path-provisioner",
    "metrics-server",
    "kube-apiserver",
    "etcd",
)
_CACHE_RECORD = paths.RUN / "cache-folder"
_OF_THE_REGISTRY = ("registry.json", "registry.lock")


def found() -> bool:
    """Whether there is anything to remove, the registry apart."""
    ours = [name for name in processes.names() if name != registry.NAME]
    return (
        bool(ours)
        or paths.STATE.exists()
        or Path("/sys/class/net", paths.BRIDGE).exists()
        or bool(cgroups.members(keep=registry.CGROUP))
    )


def record_cache() -> None:
    """Writes down where the cache folder is: a later command may run with another XDG_CACHE_HOME."""
    _CACHE_RECORD.write_text(str(paths.CACHE))


def recorded_cache() -> Path:
    """The cache folder of the cluster that runs, or ran last; ours if there is no record."""
    try:
        return Path(_CACHE_RECORD.read_text())
    except FileNotFoundError:
        return paths.CACHE


def remove_build_mounts() -> None:
    """Unmounts what an interrupted build of images left. While one is under way its mounts are its own."""
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with (paths.CACHE / "images.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        mounts.remove([paths.CACHE / "buildah", paths.CACHE / "tmp"])


def stop_in_order() -> None:
    """Ends a healthy cluster in good order, so that nobody's data are cut in half."""
    for name in _ORDER:
        processes.stop(name)
    # The pods' processes: nobody is left to do it politely.
    pods = cgroups.members(keep=registry.CGROUP) - {r.pid for n in processes.names() if (r := processes.recorded(n))}
    if pods:
        say(f"ending {len(pods)} processes of pods")
    was_alive = processes.alive("containerd")
    processes.stop("containerd", seconds=10)
    cgroups.kill_all(keep=registry.CGROUP)
    if was_alive:
        containerd.rest()


def remove_leftovers() -> None:
    """Removes processes, mounts, interfaces, tables, changed settings, cgroups and files; keeps caches and the
    registry.
    """
    cgroups.kill_all(keep=registry.CGROUP)
    cache = recorded_cache()
    mounts.remove([cache / paths.STATE.name, paths.RUN, cache / paths.CONTAINERD_ROOT.name])
    network.down()
    network.restore_sysctls()
    mountspace.remove_made_folders()
    cgroups.remove(keep=registry.CGROUP)
    shutil.rmtree(cache / paths.STATE.name, ignore_errors=True)
    if paths.RUN.exists():
        for entry in paths.RUN.iterdir():
            if entry.name == "pids":
                for file in entry.iterdir():
                    if file.stem != registry.NAME:
                        file.unlink()
            elif entry.name not in _OF_THE_REGISTRY:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def remove_registry() -> None:
    """Ends the registry and removes the last files outside the cache folder."""
    processes.stop(registry.NAME)
    cgroups.kill_all()
    cgroups.remove()
    shutil.rmtree(paths.RUN, ignore_errors=True)
