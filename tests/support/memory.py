"""How much memory something takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def peak_megabytes(act: Callable[[], object]) -> float:
    """What `act` adds to this process's memory at most."""
    Path("/proc/self/clear_refs").write_text("5")  # begin the high-water mark anew
    before = _high_water()
    act()
    return _high_water() - before


def _high_water() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
