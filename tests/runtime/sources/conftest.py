"""What the tests of sources share: a model, and a fetch of it in this process, by the code that the server runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.fetch import Surroundings, fetch_model
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference, from_uri
from slipway_runtime.errors import ModelFault

from tests.support import models
from tests.support.certificates import Authority

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose weights are large enough to be cut in the middle: 1.5 MB."""
    folder = models.classifier(tmp_path_factory.mktemp("source") / "model", hidden_size=128, intermediate_size=512)
    models._write_pickle(folder / "pytorch_model.bin", folder.parent / "canary")
    (folder / "handler.py").write_text("raise SystemExit\n")
    return folder


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    return authority


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No authorities, proxies or credentials that the machine of the tests may have."""
    names = (
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "https_proxy",
        "http_proxy",
    )
    for name in (*names, *(name for name in os.environ if name.startswith("AWS_"))):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Fetch:
    """Fetches into one cache. `progress` is that of the last attempt."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.progress = Progress()
        self.hub = "http://127.0.0.1:1"

    def __call__(self, uri: str, *, sha256: str = "", token: Path | str = "", plain: str = "") -> Artifact:
        return self.of(
            from_uri(uri, sha256=sha256, token_file=str(token), plain_hosts=(plain,) if plain else ()), plain
        )

    def of(self, reference: Reference, plain: str = "") -> Artifact:
        self.progress = Progress()
        around = Surroundings(self.cache, self.hub, (plain,) if plain else ())
        return fetch_model(reference, around, self.progress, lambda *_: None)

    def fault(self, work: Callable[[], object]) -> ModelFault:
        """What it ends with."""
        with pytest.raises(ModelFault) as caught:
            work()
        return caught.value

    @property
    def files(self) -> set[str]:
        """Every file in the cache, by its last name."""
        return {path.name for path in self.cache.rglob("*") if path.is_file()}


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path / "cache")


def broken_off(got: Artifact) -> int:
    """Leave of what was fetched what an attempt leaves that broke off in the middle of the weights; bytes of them."""
    weights = got.folder / WEIGHTS
    content = weights.read_bytes()[:1_000_000]
    weights.unlink()
    (got.folder / f"{WEIGHTS}.part").write_bytes(content)
    got.folder.with_name(f"{got.folder.name}.json").unlink()
    return len(content)


def free_space(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """The cache's disk says that so many bytes are free when it is first asked, when it is asked again, …"""
    left = list(sizes)

    def statvfs(_: object) -> object:
        return SimpleNamespace(f_bavail=left.pop(0), f_frsize=1)

    monkeypatch.setattr("slipway_runtime.artifacts.source.os.statvfs", statvfs)


def is_the_model(artifact: Artifact, model: Path, *beside: str) -> bool:
    """Its weights and descriptions arrived whole, its pickle and its code not at all. `beside`: other files, which may
    be there.
    """
    found = {p.name: p.read_bytes() for p in artifact.folder.iterdir() if p.is_file() and p.name not in beside}
    wanted = {path.name: path.read_bytes() for path in model.iterdir() if path.suffix not in (".bin", ".py")}
    return found == wanted
