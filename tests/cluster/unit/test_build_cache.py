"""What a built binary depends on."""

import shutil
from pathlib import Path

import pytest
from localcluster import paths, tools


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(paths.SOURCES / "etcd", tmp_path / "etcd")
    monkeypatch.setattr(paths, "SOURCES", tmp_path)
    return tmp_path


def test_sums_go_version_and_flags_make_the_key(sources: Path) -> None:
    first = tools.key(tools.ETCD, "go1.26.8")
    assert tools.key(tools.ETCD, "go1.26.8") == first
    keys = {first, tools.key(tools.ETCD, "go1.26.9")}
    with (sources / "etcd" / "go.sum").open("a") as file:
        file.write("example.org/new v1.0.0 h1:x\n")
    keys.add(tools.key(tools.ETCD, "go1.26.8"))
    assert len(keys) == 3


def test_other_files_do_not_count(sources: Path) -> None:
    first = tools.key(tools.ETCD, "go1.26.8")
    (sources / "etcd" / "README.md").write_text("about")
    assert tools.key(tools.ETCD, "go1.26.8") == first


def test_every_binary_has_one_tool() -> None:
    every = (*tools.CLUSTER, tools.METRICS_SERVER, tools.KUBECONFORM, tools.VERSITYGW)
    names = [name for tool in every for name in tool.binaries]
    assert len(names) == len(set(names))
