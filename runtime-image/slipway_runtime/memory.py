"""How much memory this container may still take, from its cgroup (v1 and v2), and what malloc does with it.

Libraries look at the machine's memory; in a pod with a limit of 4 GB on a host with 256 that ends with the kernel
killing it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
_processes = 1
# M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h.
_KEPT = ((-3, 32 * 1024**2), (-1, 256 * 1024**2))


def left(root: Path = CGROUPS, meminfo: Path = MEMINFO) -> int | None:
    """Bytes until the cgroup's limit or the machine's end, whichever is nearer; of several workers, this one's part.

    None where neither can be read.
    """
    known = [bytes_ for bytes_ in (_of_cgroup(root), _of_machine(meminfo)) if bytes_ is not None]
    return min(known) // _processes if known else None


def divide(processes: int) -> None:
    """This process is one of so many that take the memory which is left."""
    global _processes  # noqa: PLW0603 - true of the process, as the cgroup is
    _processes = processes


def _of_cgroup(root: Path) -> int | None:
    """v2: `memory.max` ("max": no limit), `memory.current`, `memory.stat`. v1: the same in `memory/`, by other names.

    Files in the page cache count as used until the kernel needs the room; those not in use lately are left out, as
    kubelet's working set does.
    """
    for folder, limit_name, usage_name, cached in (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = _number(folder / limit_name), _number(folder / usage_name)
        if limit is not None and usage is not None:
            return max(0, limit - usage + _field(folder / "memory.stat", cached))
    return None


def _of_machine(meminfo: Path) -> int | None:
    """MemAvailable, which the file has in units of 1024 bytes."""
    available = _field(meminfo, "MemAvailable:")
    return available * 1024 if available else None


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int:
    """The number after `name` at a line's beginning, 0 where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    words = next((line.split() for line in lines if line.split()[:1] == [name]), [])
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


def keep_freed(libc: Any = None) -> bool:
    """Have malloc keep what a forward frees for the next one, instead of asking the kernel for zeroed pages each time.

    Up to 32 MiB per block, the most that glibc takes here, and 256 MiB at the end of the heap; what is larger goes back
    at once. False where the C library is another one, or the user has set this by a variable. Before threads begin.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")):
        return False
    mallopt = getattr(libc or ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, size) for option, size in _KEPT)


def give_back(libc: Any = None) -> None:
    """Have malloc return what is free to the kernel, in the heap's middle too. Nothing where the C library cannot."""
    trim = getattr(libc or ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def bound_kernel_caches(env: MutableMapping[str, str]) -> None:
    """oneDNN makes a kernel for every shape of a matrix product that it meets, in float32 too, and keeps 1024 of them.

    With lengths that differ from batch to batch that is more than half a gigabyte (measured: up to 0.7 MB each in
    bfloat16), and fills up for hours, as a leak would. 32 are a few shapes of every layer: 9 MB where 128 took 35, the
    processor's time the same within the noise, in both precisions, lengths differing from forward to forward.
    Unless the user set it. Call before torch is imported.
    """
    for name, size in (("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32"), ("LRU_CACHE_CAPACITY", "128")):
        env.setdefault(name, size)
