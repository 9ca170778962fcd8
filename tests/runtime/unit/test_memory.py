"""Memory that is left, from made-up cgroups of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway_runtime.memory import left

MIB = 1024**2


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal:       {64 * 1024} kB\nMemAvailable:   {32 * 1024} kB\n")
    return path


def test_v2_counts_what_is_used_but_not_files_that_nobody_reads(tmp_path: Path, machine: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{10 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{8 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {5 * MIB}\ninactive_file {3 * MIB}\nactive_file 0\n")
    assert left(tmp_path, machine) == 5 * MIB


def test_v1_by_its_own_names(tmp_path: Path, machine: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{10 * MIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{9 * MIB}\n")
    (folder / "memory.stat").write_text(f"inactive_file 0\ntotal_inactive_file {MIB}\n")
    assert left(tmp_path, machine) == 2 * MIB


def test_without_a_limit_it_is_the_machines(tmp_path: Path, machine: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{8 * MIB}\n")
    assert left(tmp_path, machine) == 32 * MIB


def test_a_limit_above_the_machine_is_the_machines(tmp_path: Path, machine: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{1024 * MIB}\n")
    (tmp_path / "memory.current").write_text("0\n")
    assert left(tmp_path, machine) == 32 * MIB


def test_a_cgroup_over_its_limit_has_nothing_left(tmp_path: Path, machine: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{MIB}\n")
    (tmp_path / "memory.current").write_text(f"{2 * MIB}\n")
    assert left(tmp_path, machine) == 0


def test_nothing_can_be_read(tmp_path: Path) -> None:
    assert left(tmp_path, tmp_path / "meminfo") is None
