"""These tests start, kill and stop the local cluster of this machine; with a cluster of your own there is nothing to
test.

They need root on Linux, like the cluster itself.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HACK = Path(__file__).parents[2] / "hack" / "cluster"
sys.path.insert(0, str(HACK))

from localcluster import paths  # noqa: E402 the path has to be set first

from .cluster import Cluster  # noqa: E402
from .machine import Machine, look  # noqa: E402

if paths.external():
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def local() -> Iterator[Cluster]:
    """The local cluster, up at the end as well: the next tier wants it."""
    cluster = Cluster()
    yield cluster
    cluster.up()


@pytest.fixture
def running(local: Cluster) -> Cluster:
    """The local cluster, up. Asked first: a start looks after every part, and takes seconds also where all are well."""
    if local.status().returncode:
        local.up()
    return local


@pytest.fixture
def bare(local: Cluster) -> Machine:
    """The machine without a cluster, and what it looks like."""
    local.down()
    return look()


@pytest.fixture
def namespace(running: Cluster) -> Iterator[str]:
    """A namespace in which pods can be created; gone afterwards, with what a failed test left in it."""
    with running.namespace() as name:
        yield name
