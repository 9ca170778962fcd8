"""A cache that is too small, and one that fills up while the model arrives: said as NoSpace, mended by room alone.

The cache is a real file system of its own (tmpfs), so this needs root, as the local cluster does.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.hub_mirror import running
from tests.support.models import MINILM
from tests.support.runtime_server import serving
from tests.support.waiting import eventually


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of so many MiB; unmounted afterwards."""
    with ExitStack() as stack:

        def mount(size: int) -> Path:
            folder = tmp_path / "disk"
            folder.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "slipway-test", folder], check=True)
            stack.callback(lambda: subprocess.run(["umount", "--lazy", folder], check=True))
            return folder

        yield mount


def resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}m", folder], check=True)


def test_a_cache_that_is_too_small_is_said_before_anything_large_is_fetched(
    hub_root: Path, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(20)
    with running(hub_root) as (url, mirror):
        variables = {"SLIPWAY_MODEL_ID": MINILM, "HF_ENDPOINT": url, "SLIPWAY_CACHE_DIR": str(disk)}
        with serving(tmp_path / "server", True, **variables) as server:
            error = server.wait_for_fault("NoSpace")
            assert (error["code"], error["param"]) == (69, "cache")
            assert "bytes more in the cache" in error["message"]
            assert not any(seen.path.endswith(".safetensors") for seen in mirror.requests)
            resize(disk, 200)
            server.wait_for_stage("Ready")


def test_a_cache_that_fills_up_half_way_is_no_space_and_heals_with_room(
    hub_root: Path, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(150)
    with running(hub_root) as (url, mirror):
        mirror.faults.hold = go_on = threading.Event()
        variables = {"SLIPWAY_MODEL_ID": MINILM, "HF_ENDPOINT": url, "SLIPWAY_CACHE_DIR": str(disk)}
        with serving(tmp_path / "server", True, **variables) as server:
            eventually(lambda: any(seen.path.endswith(".safetensors") for seen in mirror.requests))
            (disk / "other").write_bytes(b"x" * 100 * 1024**2)
            go_on.set()
            error = server.wait_for_fault("NoSpace")
            assert "no space left in the cache" in error["message"] or "bytes more in the cache" in error["message"]
            (disk / "other").unlink()
            server.wait_for_stage("Ready")
