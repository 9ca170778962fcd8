"""The real operator on a real API server, with exactly the rights that the chart grants.

After every test the logs of all operators that ran in it are searched for errors and tracebacks; a test that causes one
on purpose adds a regular expression to `expected_complaints`.

There is no kubelet: Deployments make pods (the controllers are real), and no pod ever runs. Where a test needs the
operator's reaction to a running pod, Space.imitate_kubelet writes the pod's status. Real causes of faults are in e2e.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import Cluster
from tests.support.chart import install_rights
from tests.support.operator import Operator, Space
from tests.support.waiting import eventually

Starter = Callable[..., Operator]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With controllers, our CRDs and the chart's rights. Tests that stop or pause it start one of their own."""
    with Cluster(tmp_path_factory.mktemp("operator"), controllers=True) as started:
        started.install_crds()
        install_rights(started)
        yield started


@pytest.fixture(scope="session")
def leader(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One operator for all tests that do not end it or need settings of their own."""
    with Operator(cluster, tmp_path_factory.mktemp("leader")) as started:
        eventually(started.leads)
        yield started


@pytest.fixture
def space(cluster: Cluster) -> Space:
    """A fresh namespace."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return Space(cluster, name)


@pytest.fixture
def expected_complaints() -> list[str]:
    """Regular expressions of log lines of level error that a test causes on purpose."""
    return []


@pytest.fixture
def started(tmp_path: Path, expected_complaints: list[str]) -> Iterator[Starter]:
    """Makes operators that end with the test: `started(cluster, "slipway-1", watch_silence=2)`."""
    operators: list[Operator] = []

    def make(cluster: Cluster, name: str = "slipway-0", *, start: bool = True, **settings: Any) -> Operator:
        operator = Operator(cluster, tmp_path, name, **settings)
        operators.append(operator)
        if start:
            operator.start()
        return operator

    yield make
    for operator in operators:
        operator.close()
    found = [line for operator in operators for line in operator.complaints()]
    unexpected(found, expected_complaints)


@pytest.fixture(autouse=True)
def nothing_to_complain_of(request: pytest.FixtureRequest, expected_complaints: list[str]) -> Iterator[None]:
    """The shared operator's log of the time of this test."""
    if "leader" not in request.fixturenames:
        yield
        return
    leader: Operator = request.getfixturevalue("leader")
    before = len(leader.log())
    yield
    assert leader.is_running()
    unexpected(leader.complaints(before), expected_complaints)


def unexpected(found: list[str], expected: list[str]) -> None:
    left = [line for line in found if not any(re.search(pattern, line) for pattern in expected)]
    assert not left, "\n".join(left)
