"""What a process holds: memory, handles, threads. From Linux' /proc."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def peak_megabytes(act: Callable[[], object], pid: int | str = "self") -> float:
    """What `act` adds to a process's memory at most."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # begin the high-water mark anew
    before = _megabytes(pid, "VmHWM")
    act()
    return _megabytes(pid, "VmHWM") - before


@dataclass(frozen=True)
class Held:
    """What a process holds at one moment."""

    megabytes: float
    """Resident memory."""
    handles: int
    """Open files, sockets and pipes."""
    threads: int


def held(pid: int) -> Held:
    """FileNotFoundError where there is no such process."""
    handles = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Held(_megabytes(pid, "VmRSS"), handles, _status(pid, "Threads"))


def own_megabytes(pid: int) -> float:
    """Its memory, of pages that several processes have in theirs an equal part each (PSS)."""
    return int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0]) / 1024


def _megabytes(pid: int | str, name: str) -> float:
    return _status(pid, name) / 1024


def _status(pid: int | str, name: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split(f"\n{name}:")[1].split()[0])


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has had, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
