"""How many processors this container may use, from its cgroup (v1 and v2).

Libraries count the machine's processors; in a pod with a limit of 2 on a host with 64 that makes inference 30 times
slower (reference: 16 threads on 2 cores, 29 times). The variables have to be set before torch is imported.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")

# How often a thread of a forward looks for the others before it sleeps (libgomp's GOMP_SPINCOUNT; by its default it
# looks for milliseconds). Where other processes want the processors too, threads that spin keep those from running for
# whom they wait. Measured with BERT on two cores: among six busy processes 25 times as fast with this as by default,
# alone 4 per cent slower; with 300 it was 35 times, and 20 per cent.
SPINS = 3000


def quota(root: Path = CGROUPS) -> float | None:
    """Processors by the cgroup's CPU quota, None where there is no limit.

    v2: `cpu.max` holds "max 100000" or "150000 100000" (microseconds per period).
    v1: `cpu/cpu.cfs_quota_us` (-1: no limit) and `cpu/cpu.cfs_period_us`.
    """
    text = _read(root / "cpu.max")
    if text is not None:
        fields = text.split()
        return None if fields[0] == "max" else int(fields[0]) / int(fields[1])
    for folder in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
        quota_us, period_us = _read(root / folder / "cpu.cfs_quota_us"), _read(root / folder / "cpu.cfs_period_us")
        if quota_us is not None and period_us is not None:
            return int(quota_us) / int(period_us) if int(quota_us) > 0 else None
    return None


def threads(wanted: int = 0, workers: int = 1, *, root: Path = CGROUPS, available: int | None = None) -> int:
    """Threads for one forward of one of the workers.

    `wanted`, else its part of the quota, rounded down (a partial processor would be throttled), at least 1.
    """
    if wanted:
        return wanted
    cpus = available if available is not None else len(os.sched_getaffinity(0))
    limit = quota(root)
    return max(1, min(cpus, math.floor(limit) if limit is not None else cpus) // workers)


def set_thread_variables(env: MutableMapping[str, str], count: int) -> None:
    """Tell the numeric libraries, unless the user did. Call before torch or tokenizers are imported."""
    for name in THREAD_VARIABLES:
        env.setdefault(name, str(count))
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", str(SPINS))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
