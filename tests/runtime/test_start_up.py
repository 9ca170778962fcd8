"""What is done ahead at a start: imports and reading while the model is on its way."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest
from slipway_runtime.serve.loading import ahead

from tests.runtime.conftest import Start
from tests.support.hub_mirror import running
from tests.support.waiting import eventually

MEBIBYTE = 1024**2


def test_libraries_and_the_models_own_code_are_imported_while_its_weights_are_on_their_way(
    hub_root: Path, start: Start
) -> None:
    with running(hub_root) as (url, mirror):
        mirror.faults.hold = go_on = threading.Event()
        with start("tiny/classifier", HF_ENDPOINT=url) as server:
            eventually(lambda: any(line["message"] == "the model's code is imported" for line in server.lines()), 120)
            assert server.status()["stage"] == "Downloading"
            go_on.set()
            server.wait_for_stage("Ready")
            assert server.post({"inputs": "a film"}).status_code == 200
        said = [line["message"] for line in server.lines()]
    steps = ["libraries are imported", "the model's code is imported", "the model's files are here", "ready"]
    assert [message for message in said if message in steps] == steps


@pytest.mark.parametrize("model_type", ["bert", "xlm-roberta", "no-such", "../os", ""])
def test_code_that_cannot_be_imported_ahead_is_left_to_the_load(model_type: str) -> None:
    early = ahead.Ahead()
    early.import_code(["slipway_runtime.tasks.text.fill_mask", "slipway_runtime.no_such"], model_type)
    wait([early.result()], 120)
    assert early.result().exception() is None


def resident(path: Path) -> float:
    """The share of a file's pages that is in the page cache, by mincore(2), which reads none of them."""
    size = path.stat().st_size
    with path.open("r+b") as opened, mmap.mmap(opened.fileno(), size) as mapped:
        pages = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), pages) == 0
        del start  # a map with a view cannot be closed
    return sum(page & 1 for page in pages) / len(pages)


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A folder whose weights are on disk alone."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(os.urandom(8 * MEBIBYTE))
    with weights.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(weights) > 0.5:
        pytest.skip("this file system keeps its files in memory")
    return tmp_path


def test_weights_are_in_the_page_cache_before_they_are_loaded(cold: Path) -> None:
    assert ahead.read_ahead(cold) == 8 * MEBIBYTE
    eventually(lambda: resident(cold / "model.safetensors") == 1.0)


def test_weights_that_would_push_each_other_out_of_memory_are_not_read_ahead(
    cold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "left", lambda: 12 * MEBIBYTE)
    assert ahead.read_ahead(cold) == 0
    assert resident(cold / "model.safetensors") < 0.5
