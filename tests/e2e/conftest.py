"""Slipway in a real cluster, installed by Helm as users install it.

Runs in the runtime's environment: it makes small models, and calls with huggingface_hub. The cluster is the local
one, which is started if it does not run, or that of SLIPWAY_KUBECONFIG. On the local one the release looks after all
namespaces, as the chart's defaults have it; on a cluster of somebody else's only after the namespaces made here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import CHILDREN, LOADING, NAMESPACE, POLL, SHARED, SYSTEM, World
from tests.support import models
from tests.support.kube import ROOT, Kube, Object, environment, images
from tests.support.mirror_pod import MirrorPod
from tests.support.release import Release
from tests.support.waiting import eventually

EXPECTED = (
    # kopf's word for the API server's 429 in the second after a CRD was made; it waits and watches.
    "storage is (re)initializing",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the cluster and the images, which a fresh machine has to build; any may wait for pods
    on two cores that others use, too.
    """
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for number, item in enumerate(mine):
        item.add_marker(pytest.mark.timeout(900 if number else 2400))


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    models.classifier(root / "classifier")
    models.masked_lm(root / "masked")
    models.sentence_transformer(root / "sentences")
    models.pickle_only(root / "pickle", root / "canary")
    models.gated(models.classifier(root / "gated"), "let-me-in")
    return root


@pytest.fixture(scope="session")
def kube() -> Kube:
    where = environment()
    commands = (["up"] if where.local else []) + ["images"]
    for command in commands:
        subprocess.run([sys.executable, "hack/cluster", command], cwd=ROOT, check=True)
    return Kube(where)


@pytest.fixture(scope="session")
def installed(kube: Kube, model_folders: Path) -> Iterator[World]:
    """The namespaces, the mirror with its models, and the release; all gone afterwards."""
    built = images()
    mirror = MirrorPod(kube, NAMESPACE, built.runtime)
    watch = () if kube.where.local else (NAMESPACE,)
    release = Release(kube, SYSTEM, built, watch=watch, hub=mirror.url, name="slipway-e2e")
    # What an interrupted run left: some of a release is outside its namespaces.
    release.uninstall()
    kube.delete_namespaces(NAMESPACE, SYSTEM)
    for namespace in (NAMESPACE, SYSTEM):
        kube.namespace(namespace)
    try:
        mirror.start()
        for repository, folder in {
            "acme/emotions": "classifier",
            "acme/masked": "masked",
            "acme/sentences": "sentences",
            "acme/pickle": "pickle",
            "acme/gated": "gated",
        }.items():
            mirror.publish(repository, model_folders / folder)
        audit_start = kube.where.audit_log.stat().st_size if kube.where.local else 0
        release.install()
        yield World(kube, mirror, release, model_folders, audit_start=audit_start)
    finally:
        release.uninstall()
        kube.delete_namespaces(NAMESPACE, SYSTEM)


@pytest.fixture
def world(installed: World) -> Iterator[World]:
    """For one test. Afterwards its endpoints are deleted, and the operator may have logged no error."""
    yield installed
    if installed.made:
        installed.delete(*installed.made, wait=False)
        installed.made.clear()
    logged = [line for line in installed.release.logs() if line.get("level") in ("error", "critical")]
    unexpected = [line for line in logged if not any(words in str(line["message"]) for words in EXPECTED)]
    assert not unexpected, unexpected


@pytest.fixture
def emotions(world: World) -> Object:
    """The shared endpoint: of acme/emotions, Ready, one pod. A test may change it in any way."""
    return world.serve_shared()


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(installed: World) -> Iterator[None]:
    """After each file nothing is left of the endpoints that its tests deleted: pods end while the next test works."""

    def gone() -> bool:
        found = installed.kube.all(CHILDREN, NAMESPACE, f"slipway.dev/endpoint,slipway.dev/endpoint!={SHARED}")
        left = [f"{obj['kind']}/{obj['metadata']['name']}" for obj in found]
        assert not left, left
        return True

    yield
    eventually(gone, LOADING, POLL)
