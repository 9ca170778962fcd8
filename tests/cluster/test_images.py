"""Images in the local registry and in one of the user's: the same content, whichever way they were built."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localcluster import paths
from localcluster.controlplane import answers
from localimages import base, engines, images, oci, recipes

from tests.support.waiting import eventually

from .cluster import Cluster, phase, pod

_PORT = 5055


@pytest.fixture
def registry_of_the_user(tmp_path: Path) -> Iterator[str]:
    configuration = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path)}},
        "http": {"addr": f"127.0.0.1:{_PORT}"},
    }
    (tmp_path / "registry.json").write_text(json.dumps(configuration))
    with subprocess.Popen(
        ["docker-registry", "serve", str(tmp_path / "registry.json")], stderr=subprocess.DEVNULL
    ) as server:
        eventually(lambda: answers(f"http://127.0.0.1:{_PORT}/v2/"))
        yield f"localhost:{_PORT}"
        server.terminate()


def _build(said: list[str] | None = None) -> dict[str, str]:
    """Builds what has changed; the images' names by variable. What is printed is added to `said`."""
    done = subprocess.run([sys.executable, str(paths.SOURCES), "images"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if said is not None:
        said.append(done.stdout)
    return dict(line.split("=", 1) for line in (paths.REPOSITORY / ".cache/images.env").read_text().splitlines())


def _settings(image: str) -> Any:
    host, repository, _ = oci.split(image)
    registry = oci.Registry(host)
    return oci.parse(registry.blob(repository, registry.manifest(image)["config"]["digest"]))["config"]


def test_what_has_not_changed_is_neither_built_nor_pushed(running: Cluster) -> None:
    names = _build()
    said: list[str] = []
    assert _build(said) == names
    assert "slipway-operator: unchanged" in said[0]
    assert "slipway-runtime: unchanged" in said[0]


@pytest.mark.full
def test_a_grafted_image_is_the_image_of_one_whole_build(
    running: Cluster, namespace: str, registry_of_the_user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grafted = _build()["SLIPWAY_OPERATOR_IMAGE"]
    monkeypatch.setenv("SLIPWAY_BASE_IMAGE", base.IMAGE)
    engine = engines.choose()
    whole = images.build_whole(engine, recipes.OPERATOR, registry_of_the_user)
    try:
        assert images.build_whole(engine, recipes.OPERATOR, registry_of_the_user) == whole
        assert whole.rpartition(":")[2] == grafted.rpartition(":")[2]
        for setting in ("Entrypoint", "Env", "User", "WorkingDir"):
            assert _settings(grafted)[setting] == _settings(whole)[setting], setting
        assert _contents(running, namespace, grafted) == _contents(running, namespace, whole)
    finally:
        engine.forget(whole)


def _contents(cluster: Cluster, namespace: str, image: str) -> str:
    """Names of all files, and checksums of ours (byte code of libraries has the time of its source in it)."""
    everything = "find / -xdev -type f -not -path '/proc/*' -not -path '/etc/*' -not -path '/sys/*' | sort"
    command = f"{everything}; find /app /crds -type f | sort | xargs md5sum"
    name = f"listing-{uuid.uuid4().hex[:6]}"
    cluster.apply(pod(name, namespace, command, image=image))
    _ended(cluster, namespace, name)
    listing = cluster.kubectl("logs", name, "-n", namespace)
    assert "/app/slipway_operator/__main__.py" in listing
    return listing


def test_images_have_no_installer_and_run_as_nobody(running: Cluster, namespace: str) -> None:
    nothing_left = "! command -v uv && ! /opt/venv/bin/python -c 'import pip' 2>/dev/null"
    check = f"test $(id -u) = 10001 && {nothing_left} && ls /app/*/__pycache__"
    for variable, image in _build().items():
        name = variable.lower().replace("_", "-")
        running.apply(pod(name, namespace, check, image=image))
        _ended(running, namespace, name)
        listing = running.kubectl("logs", name, "-n", namespace)
        assert phase(running.get("pod", name, namespace)) == "Succeeded", listing
        assert "__main__.cpython" in listing


def _ended(cluster: Cluster, namespace: str, name: str) -> None:
    eventually(lambda: phase(cluster.get("pod", name, namespace)) in {"Succeeded", "Failed"}, timeout=180)


def test_a_registry_is_asked_for_where_the_cluster_is_the_users() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "SLIPWAY_REGISTRY"} | {
        "SLIPWAY_KUBECONFIG": "/some/kubeconfig"
    }
    done = subprocess.run(
        [sys.executable, str(paths.SOURCES), "images"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode != 0
    assert "SLIPWAY_REGISTRY" in done.stderr
