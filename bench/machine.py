"""The machine and its processes, from /proc, so Linux only."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Cores, processor, memory, Python: what a table of figures needs beside it."""
    model = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "CPU")
    total = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {total / 2**20:.0f} GiB, {platform.system()}, {python}"


def memory(pid: int, what: str = "VmRSS") -> float:
    """Resident MiB: now (VmRSS), or the most there ever was (VmHWM)."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"/proc/{pid}/status has no {what}"
    return int(found[1]) / 1024


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, in steps of 10 ms."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree(pid: int) -> list[int]:
    """The process and what it started, and they, as far as they live."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [pid]
    for one in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_of(pids: Iterable[int]) -> float:
    """Seconds of CPU of those that live."""
    total = 0.0
    for pid in pids:
        try:
            total += cpu(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def busy() -> float:
    """Seconds of CPU that the whole machine has used since it started, what a hypervisor took from it included."""
    # user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in _lines("/proc/stat")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, which is the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
