"""Threads follow the cgroup, v1 and v2."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway_runtime import cpu


@pytest.mark.parametrize(
    ("text", "quota", "threads"),
    [
        ("200000 100000", 2.0, 2),
        ("150000 100000", 1.5, 1),
        ("50000 100000", 0.5, 1),
        ("max 100000", None, 8),
        ("1600000 100000", 16.0, 8),
    ],
)
def test_version_2(tmp_path: Path, text: str, quota: float | None, threads: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cpu.quota(tmp_path) == quota
    assert cpu.threads(root=tmp_path, available=8) == threads


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota_us", "threads"), [("300000", 3), ("-1", 8), ("20000", 1)])
def test_version_1(tmp_path: Path, folder: str, quota_us: str, threads: int) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "cpu.cfs_quota_us").write_text(quota_us)
    (tmp_path / folder / "cpu.cfs_period_us").write_text("100000")
    assert cpu.threads(root=tmp_path, available=8) == threads


def test_without_cgroups_the_processors_count(tmp_path: Path) -> None:
    assert cpu.threads(root=tmp_path, available=3) == 3


def test_a_setting_wins(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert cpu.threads(5, root=tmp_path, available=8) == 5


def test_what_the_user_set_stays() -> None:
    env = {"OMP_NUM_THREADS": "7"}
    cpu.set_thread_variables(env, 2)
    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("7", "2")
    assert env["GOMP_SPINCOUNT"] == str(cpu.SPINS)
    env = {"OMP_WAIT_POLICY": "ACTIVE"}
    cpu.set_thread_variables(env, 2)
    assert "GOMP_SPINCOUNT" not in env
