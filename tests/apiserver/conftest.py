"""One API server for the whole folder, a namespace of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.support.apiserver import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd and kube-apiserver with the CRDs installed. Tests that stop or pause it start one of their own."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        started.install_crds()
        yield started


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """A fresh namespace. It is not deleted: without controllers nothing would empty it, and the cluster goes anyway."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
