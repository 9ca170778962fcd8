"""The cgroup below which everything of the cluster runs: the marker by which its processes are found again.

Works with cgroup v1 (a folder in each hierarchy; the `pids` hierarchy marks the host processes) and v2 (one folder).
"""

import os
import signal
import time
from pathlib import Path

from . import paths

ROOT = Path("/sys/fs/cgroup")


def unified() -> bool:
    """Whether this machine has cgroup v2 only."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The folders in which a cgroup can be made: one on v2, one per controller on v1 (an empty v2 beside it
    included).
    """
    return [ROOT] if unified() else sorted(p for p in ROOT.iterdir() if p.is_dir() and not p.is_symlink())


def prepare() -> None:
    """Makes the cluster's cgroup in every hierarchy, ready to have pods below it."""
    for hierarchy in hierarchies():
        group = hierarchy / paths.CGROUP
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # v1: a new cpuset is empty, and a process cannot join an empty one.
            if hierarchy.name == "cpuset" and not (group / name).read_text().strip():
                (group / name).write_text((hierarchy / name).read_text())
        if unified():
            for parent in (hierarchy, group):
                controllers = (parent / "cgroup.controllers").read_text().split()
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in controllers))


def processes_group(name: str) -> Path:
    """The file that a process of the host writes its pid to in order to belong to the cluster."""
    marker = (ROOT if unified() else ROOT / "pids") / paths.CGROUP / name
    marker.mkdir(parents=True, exist_ok=True)
    return marker / "cgroup.procs"


def _groups() -> list[Path]:
    """All our cgroups, deepest first."""
    found: list[Path] = []
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / paths.CGROUP, topdown=False):
            found.append(Path(folder))
    return found


def members(*, keep: str | None = None) -> set[int]:
    """The pids of every process in our cgroups, but for those in the group named `keep`."""
    pids: set[int] = set()
    for group in _groups():
        if group.name != keep:
            try:
                pids.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
            except OSError:
                continue
    return pids


def kill_all(*, keep: str | None = None, seconds: float = 20) -> None:
    """Ends every process in our cgroups by SIGKILL, those forked meanwhile too. Raises RuntimeError when one does not
    die.
    """
    deadline = time.monotonic() + seconds
    while pids := members(keep=keep):
        for pid in pids:
            _kill_member(pid)
        if time.monotonic() > deadline:
            raise RuntimeError(f"these processes of the cluster do not end: {sorted(pids)}")
        time.sleep(0.05)


def _kill_member(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Asked again now that the handle pins the process: the pid may have passed to a stranger since it was listed.
        if f"/{paths.CGROUP}/" in Path(f"/proc/{pid}/cgroup").read_text():
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        os.close(handle)


def remove(*, keep: str | None = None) -> None:
    """Removes our empty cgroups; those above the group named `keep` stay."""
    for group in _groups():
        if group.name != keep:
            try:
                group.rmdir()
            except OSError:
                continue
