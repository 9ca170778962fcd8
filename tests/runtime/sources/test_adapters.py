"""LoRA adapters from every source: the two files, checked as the model's are, and never anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from slipway_runtime.artifacts import AdapterFiles
from slipway_runtime.artifacts.adapter_list import read_adapters
from slipway_runtime.artifacts.fetch import Surroundings, fetch_adapter
from slipway_runtime.errors import ModelFault

from tests.support import adapters, models
from tests.support.archives import pack, sha256, site
from tests.support.certificates import Authority
from tests.support.hub_mirror import running
from tests.support.registry import registry
from tests.support.s3 import ACCESS, SECRET, s3_server

Get = Callable[[], AdapterFiles]
KINDS = ("hub", "path", "s3", "https", "oci")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "mine"
    adapters.trained(model, folder, task_type="SEQ_CLS")
    return folder


class Place:
    """Puts a folder where a source of each kind finds it, and fetches it from there as an adapter."""

    def __init__(self, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path, self._authority, self._monkeypatch = tmp_path, authority, monkeypatch
        self._hub = "http://127.0.0.1:1"

    def fetch(self, kind: str, folder: Path) -> AdapterFiles:
        work: Callable[[Path], AdapterFiles] = getattr(self, kind)
        return work(folder)

    def _get(self, plain: str = "", **entry: Any) -> AdapterFiles:
        [named] = read_adapters(json.dumps([{"name": "mine", **entry}]), None, (plain,))
        return fetch_adapter(named, Surroundings(self.tmp_path / "cache", self._hub, (plain,)))

    def hub(self, folder: Path) -> AdapterFiles:
        shutil.copytree(folder, self.tmp_path / "hub/some/adapter")
        with running(self.tmp_path / "hub") as (self._hub, _):
            return self._get(id="some/adapter")

    def path(self, folder: Path) -> AdapterFiles:
        return self._get(path=str(folder))

    def s3(self, folder: Path) -> AdapterFiles:
        self._monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        self._monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        with s3_server(self.tmp_path / "s3") as server:
            self._monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            server.upload(folder, "models", "mine")
            return self._get(uri="s3://models/mine")

    def https(self, folder: Path) -> AdapterFiles:
        with site(self.tmp_path / "site", self._authority) as found:
            archive = pack(folder, found.folder / "mine.tar.gz", within="mine")
            return self._get(uri=f"{found.url}/mine.tar.gz", sha256=sha256(archive))

    def oci(self, folder: Path) -> AdapterFiles:
        with registry(self.tmp_path / "registry") as found:
            found.push_files("mine", "v1", folder)
            return self._get(found.host, uri=f"oci://{found.host}/mine:v1")


@pytest.fixture
def place(tmp_path: Path, trusted: Authority, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, trusted, monkeypatch)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_code_and_pickle_beside_an_adapter_are_neither_fetched_nor_run(
    place: Place, trained: Path, tmp_path: Path, canary: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "poisoned"))
    models._write_pickle(folder / "adapter_model.bin", canary)
    for name in ("handler.py", "setup.py", "modeling_custom.py"):
        (folder / name).write_text(f"open({str(canary)!r}, 'w').close()\n")
    (folder / "requirements.txt").write_text("a-package-that-nobody-may-install\n")
    got = place.fetch(kind, folder)
    assert (got.name, got.config.alpha) == ("mine", 8)
    assert got.weights.read_bytes() == (trained / "adapter_model.safetensors").read_bytes()
    fetched = {path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert not fetched & {".py", ".bin", ".txt"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_that_is_only_pickled_is_refused_by_its_name(
    place: Place, trained: Path, tmp_path: Path, canary: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "pickled"))
    (folder / "adapter_model.safetensors").unlink()
    models._write_pickle(folder / "adapter_model.bin", canary)
    with pytest.raises(ModelFault, match=r"^adapter mine: .* only as pickle \(adapter_model\.bin\)") as caught:
        place.fetch(kind, folder)
    assert caught.value.reason == "UnsafeFormat"


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_an_adapter_that_end_early_are_corrupt(
    place: Place, trained: Path, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "short"))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFault, match=r"adapter mine: adapter_model\.safetensors of .* is truncated or damaged"):
        place.fetch(kind, folder)
