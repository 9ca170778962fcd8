"""The Hub: weights are compared with the digest in its tree, and a restart without it serves what is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_runtime.artifacts.reference import Reference

from tests.runtime.sources.conftest import WEIGHTS, Fetch
from tests.support import models
from tests.support.hub_mirror import Mirror, commit_of, running
from tests.support.runtime_server import free_ports, serving

HERE = Reference("hub", "some/model")
# A port without a server: connections to the mirror's own outlive it in this process.
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def root(tmp_path: Path, model: Path) -> Path:
    shutil.copytree(model, tmp_path / "hub/some/model")
    return tmp_path / "hub"


@pytest.fixture
def mirror(root: Path, fetch: Fetch) -> Iterator[Mirror]:
    with running(root) as (url, found):
        fetch.hub = url
        yield found


def test_weights_that_are_not_those_of_the_tree_are_corrupt_and_heal(
    mirror: Mirror, root: Path, model: Path, fetch: Fetch
) -> None:
    """A mirror that lists one digest and hands out other bytes of the same length."""
    folder = root / "some/model"
    [listed] = [entry.sha256 for entry in mirror.entries(folder) if entry.path == WEIGHTS]
    weights, stat = folder / WEIGHTS, (folder / WEIGHTS).stat()
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the mirror goes on listing what it knows
    fault = fetch.fault(lambda: fetch.of(HERE))
    assert fault.reason == "ModelCorrupt"
    assert f"{WEIGHTS} of some/model@main has the sha256" in fault.message
    assert listed in fault.message
    assert WEIGHTS not in fetch.files
    weights.write_bytes(right)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fetch.of(HERE).revision == commit_of(mirror.entries(folder))


def test_a_branch_is_served_offline_as_it_was_last_resolved(root: Path, model: Path, fetch: Fetch) -> None:
    with running(root) as (url, _):
        fetch.hub = url
        got = fetch.of(HERE)
        assert got.offline == ""
    fetch.hub = NOBODY
    again = fetch.of(HERE)
    assert again.revision == got.revision
    assert "cannot be reached for some/model" in again.offline
    other = fetch.fault(lambda: fetch.of(Reference("hub", "some/model", revision="v2")))
    assert other.reason == "SourceUnreachable"


def test_a_commit_that_is_here_asks_nobody(mirror: Mirror, root: Path, fetch: Fetch) -> None:
    got = fetch.of(HERE)
    count = len(mirror.requests)
    pinned = fetch.of(Reference("hub", "some/model", revision=str(got.revision)))
    assert (pinned.folder, pinned.offline) == (got.folder, "")
    assert len(mirror.requests) == count


@pytest.mark.parametrize("harm", ["no manifest", "a file is missing", "a file was changed", "the manifest is broken"])
def test_a_folder_that_is_not_whole_is_never_served(root: Path, fetch: Fetch, harm: str) -> None:
    with running(root) as (url, _):
        fetch.hub = url
        got = fetch.of(HERE)
    fetch.hub = NOBODY
    manifest = got.folder.parent / f"{got.revision}.json"
    config = got.folder / "config.json"
    if harm == "no manifest":
        manifest.unlink()
    elif harm == "the manifest is broken":
        manifest.write_text("{")
    elif harm == "a file is missing":
        config.unlink()
    else:
        config.write_bytes(config.read_bytes().replace(b"bert", b"tree"))
    assert fetch.fault(lambda: fetch.of(HERE)).reason == "SourceUnreachable"


def test_a_hub_that_answers_and_refuses_is_obeyed_though_all_is_here(mirror: Mirror, root: Path, fetch: Fetch) -> None:
    fetch.of(HERE)
    shutil.rmtree(root / "some/model")
    assert fetch.fault(lambda: fetch.of(HERE)).reason == "ModelNotFound"


def test_the_manifest_names_every_file_with_size_and_digest(mirror: Mirror, fetch: Fetch, model: Path) -> None:
    got = fetch.of(HERE)
    manifest = json.loads((got.folder.parent / f"{got.revision}.json").read_text())
    assert manifest["revision"] == got.revision
    assert manifest["weights"] == [WEIGHTS]
    assert {name: file["size"] for name, file in manifest["files"].items()} == {
        path.name: path.stat().st_size for path in model.iterdir() if path.suffix not in (".bin", ".py")
    }


@pytest.mark.parametrize("variables", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no network", "HF_HUB_OFFLINE"])
def test_a_server_restarts_without_the_hub(tmp_path: Path, root: Path, variables: dict[str, str]) -> None:
    [port] = free_ports(1)
    env = {
        "SLIPWAY_MODEL_ID": "some/model",
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "SLIPWAY_CACHE_DIR": str(tmp_path / "cache"),
    }
    with running(root, port=port), serving(tmp_path / "first", True, **env) as server:
        first = server.wait_for_stage("Ready")
    with serving(tmp_path / "second", False, **env, **variables) as server:
        status = server.wait_for_stage("Ready")
        assert status["model"] == first["model"] | {"fromCache": True}
        assert any("what was fetched before is served" in line["message"] for line in server.lines())
        assert server.post({"inputs": "a film"}).status_code == 200


def test_an_adapter_comes_from_the_hub_as_well(tmp_path: Path, root: Path, model: Path) -> None:
    from tests.support import adapters

    adapters.trained(model, root / "some/adapter", task_type="SEQ_CLS")
    models._write_pickle(root / "some/adapter/adapter_model.bin", tmp_path / "canary")
    (root / "some/adapter/handler.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    entries = json.dumps([{"name": "mine", "id": "some/adapter"}])
    with running(root) as (url, found):
        env = {"SLIPWAY_MODEL_ID": "some/model", "HF_ENDPOINT": url, "SLIPWAY_ADAPTERS": entries}
        with serving(tmp_path / "server", True, **env) as server:
            server.wait_for_stage("Ready")
            base = server.post({"inputs": "a film"}, "/models/some/model").json()
            assert server.post({"inputs": "a film"}, "/models/mine").json() != base
        fetched = {seen.path.rpartition("/")[2] for seen in found.requests if "some/adapter/resolve" in seen.path}
        assert fetched == {"adapter_config.json", "adapter_model.safetensors"}
    assert not (tmp_path / "canary").exists()
