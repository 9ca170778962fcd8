"""Memory that is left, from made-up cgroups of both versions; memory that malloc keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from slipway_runtime import memory
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


_FORWARDS = """
import gc, resource, sys
import numpy as np
from slipway_runtime import memory

if sys.argv[1] == "keep":
    assert memory.keep_freed()


def forward():
    return [np.ones(500_000, np.float32) for _ in range(8)]


def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("RssAnon"))


forward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    forward()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = anonymous()
large = np.ones(25_000_000, np.float32)
assert anonymous() > held + 80
del large
print(faults, anonymous() - held)
"""


def _forwards(how: str, **variables: str) -> tuple[int, int]:
    """(Page faults of 20 forwards, megabytes that remain of a block of 100)."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    done = subprocess.run([sys.executable, "-c", _FORWARDS, how], env=env, capture_output=True, text=True, check=True)
    faults, kept = map(int, done.stdout.split())
    return faults, kept


def test_what_a_forward_frees_is_there_for_the_next_and_large_blocks_go_back() -> None:
    default, _ = _forwards("default")
    faults, kept = _forwards("keep")
    assert faults < default / 20
    assert kept < 5


def test_the_users_own_setting_of_malloc_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not memory.keep_freed(SimpleNamespace(mallopt=lambda *_: pytest.fail("set all the same")))


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    assert not memory.keep_freed(SimpleNamespace())


_SHAPES = """
import os, sys
from slipway_runtime import memory

if sys.argv[1] == "bound":
    memory.bound_kernel_caches(os.environ)
import torch


def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


layer = torch.nn.Linear(384, 768).bfloat16()
with torch.inference_mode():
    for rows in range(1, 150):
        layer(torch.ones(rows, 384, dtype=torch.bfloat16))
    before = anonymous()
    for rows in range(150, 300):
        layer(torch.ones(rows, 384, dtype=torch.bfloat16))
print(anonymous() - before)
"""


def test_kernels_for_ever_new_shapes_do_not_pile_up() -> None:
    own = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    env = {name: value for name, value in os.environ.items() if name not in own}

    def grown(how: str) -> float:
        done = subprocess.run([sys.executable, "-c", _SHAPES, how], env=env, capture_output=True, text=True, check=True)
        return float(done.stdout)

    # 100 MB on a processor with bfloat16; one without makes no such kernels, and has nothing to bound.
    assert grown("bound") < max(20.0, grown("unbound") / 3)


def test_the_users_own_size_of_a_kernel_cache_stays() -> None:
    env = {"LRU_CACHE_CAPACITY": "7"}
    memory.bound_kernel_caches(env)
    assert env == {"LRU_CACHE_CAPACITY": "7", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32"}
