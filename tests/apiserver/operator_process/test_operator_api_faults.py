"""The API server is away, frozen or without our kind; a watch is dead. The operator stays, says so, and recovers."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.apiserver.operator_process.conftest import Starter
from tests.support.apiserver import ROOT, Cluster
from tests.support.builders import endpoint
from tests.support.chart import OPERATOR, granted, install_rights
from tests.support.control_plane import APISERVER
from tests.support.operator import Operator, Space, writes
from tests.support.proxy import Proxy
from tests.support.waiting import consistently, eventually

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelendpoints.slipway.dev"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster to be mistreated, with the chart's rights and, at first, without our CRD."""
    with Cluster(tmp_path_factory.mktemp("faults")) as started:
        install_rights(started)
        yield started


@pytest.fixture(autouse=True)
def answering(cluster: Cluster) -> None:
    """A test that failed while it had the API server stopped must not fail those after it."""
    if not answers(cluster):
        cluster.stop()
        cluster.start()


@pytest.fixture
def with_crd(cluster: Cluster) -> Cluster:
    if not cluster.http.get(CRD).is_success:
        cluster.install_crds()
    return cluster


def answers(cluster: Cluster) -> bool:
    """Whether its API server takes requests: one that ends says so first, or is gone at once."""
    try:
        return cluster.http.get("/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def space(cluster: Cluster) -> Space:
    name = f"t-{uuid.uuid4().hex[:10]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return Space(cluster, name)


def made(space: Space, name: str = "emotions", *, within: float = 60) -> float:
    """Create an endpoint; the seconds until it has children and a status."""
    begun = time.monotonic()
    eventually(lambda: space.cluster.create(endpoint(name, namespace=space.name)), retry=Exception)
    eventually(lambda: space.has_children(name=name) and space.status(name).get("phase"), timeout=within)
    return time.monotonic() - begun


def uninstall_crd(cluster: Cluster) -> None:
    cluster.kubectl("delete", "-f", str(ROOT / "crds"), "--timeout=60s")


@pytest.mark.parametrize("namespaced", [False, True])
def test_a_crd_that_comes_after_the_operator_goes_and_comes_again(
    cluster: Cluster, space: Space, started: Starter, namespaced: bool
) -> None:
    if cluster.http.get(CRD).is_success:
        uninstall_crd(cluster)
    if namespaced:
        values = {"watchNamespaces": [space.name]}
        install_rights(cluster, values)
    operator = started(cluster, **({"watch_namespaces": space.name} if namespaced else {}))
    process = operator.process
    for path in ("/livez", "/readyz"):
        assert operator.get(path).status_code == 200
    cluster.install_crds()
    made(space)
    uninstall_crd(cluster)
    eventually(lambda: operator.metrics().get('slipway_cached_objects{resource="modelendpoints"}') == 0)
    consistently(operator.is_running, duration=3)
    cluster.install_crds()
    made(space, "again")
    assert operator.process is process
    assert operator.is_running()


def test_an_api_server_killed_for_twenty_seconds(with_crd: Cluster, space: Space, started: Starter) -> None:
    operator = started(with_crd)
    made(space)
    with_crd.stop()
    process = operator.process
    consistently(operator.is_running, duration=20, interval=0.5)
    assert not operator.leads()  # it may not, without being able to renew
    with_crd.start()
    begun = time.monotonic()
    made(space, "after")
    assert time.monotonic() - begun < 60
    assert (operator.process is process, operator.get("/livez").status_code) == (True, 200)
    mine = [line for line in writes(with_crd, namespace=space.name) if "/emotions" in line]
    # Three children and the status; nothing was written again because of the outage.
    assert len(mine) == 4, mine


def test_an_api_server_that_says_goodbye(with_crd: Cluster, space: Space, started: Starter) -> None:
    """SIGTERM, as in an upgrade of the control plane: it refuses what is new while it ends what is open."""
    operator = started(with_crd)
    made(space)
    with_crd.plane.processes[APISERVER].terminate()
    eventually(lambda: not answers(with_crd))
    consistently(operator.is_running, duration=2)
    with_crd.stop()
    with_crd.start()
    made(space, "after")
    assert operator.is_running()


def test_a_frozen_api_server(with_crd: Cluster, space: Space, started: Starter) -> None:
    """Connections are accepted and nothing is said, for longer than a watch may be silent."""
    operator = started(with_crd, watch_silence=3)
    made(space)
    with_crd.pause()
    try:
        # It steps down within the deadline, though its renewal hangs for the whole request timeout.
        eventually(lambda: not operator.leads(), timeout=25)
        assert operator.get("/livez").status_code == 200
        consistently(operator.is_running, duration=4)
    finally:
        with_crd.resume()
    made(space, "after")
    eventually(operator.leads)


def test_watches_that_go_silent_are_opened_anew(with_crd: Cluster, space: Space, started: Starter) -> None:
    with Proxy(with_crd) as proxy:
        operator = started(with_crd, server=proxy.url, watch_silence=2, freshness_limit=60)
        made(space)
        silenced: list[str] = []

        def mute(path: str) -> bool:
            # The watch that is open now goes silent; the next one works.
            if path.endswith("/modelendpoints") and len(silenced) < 2:
                silenced.append(path)
                return True
            return False

        proxy.mutes = mute
        assert made(space, "after") < 30
        assert silenced
        eventually(
            lambda: (
                operator.metrics().get('slipway_watch_restarts_total{cause="silent",resource="modelendpoints"}', 0) > 0
            )
        )


def test_a_dead_watch_of_the_lease_fails_livez_while_writes_work(
    with_crd: Cluster, space: Space, started: Starter
) -> None:
    with Proxy(with_crd) as proxy:
        operator = started(with_crd, server=proxy.url, heartbeat_limit=4, lease_renew=1)
        eventually(operator.leads)
        assert operator.get("/livez").status_code == 200
        proxy.mutes = lambda path: path.endswith("/leases")
        failing = eventually(lambda: (r := operator.get("/livez")).status_code == 503 and r)
        assert "a heartbeat written" in failing.text
        assert "has not come back through the watch" in failing.text
        assert operator.leads()
        made(space)
        assert operator.get("/readyz").status_code == 200


def test_an_operator_without_rights_is_not_ready_and_says_what_it_lacks(
    with_crd: Cluster, started: Starter, expected_complaints: list[str]
) -> None:
    """Somebody took the binding away: it waits, and works as soon as the rights are there."""
    with_crd.kubectl("delete", "clusterrolebinding", "slipway")
    expected_complaints.append(r"Forbidden|forbidden")
    try:
        operator = started(with_crd, start=False)
        operator.start(wait=False)
        eventually(lambda: "cannot list resource" in str(operator.log()))
        assert operator.get("/readyz").status_code == 503
        assert "services in all namespaces: not listed yet" in operator.get("/readyz").text
    finally:
        install_rights(with_crd)
    eventually(operator.is_ready)
    eventually(operator.leads)


def refusal(operator: Operator) -> str:
    """What an operator that cannot start says last."""
    operator.start(wait=False)
    assert operator.process is not None
    assert operator.process.wait(60) == 1
    (complaint,) = operator.complaints()
    assert "Traceback" not in complaint
    return complaint


def test_a_missing_kubeconfig_is_told_in_a_sentence(
    with_crd: Cluster, started: Starter, tmp_path: Path, expected_complaints: list[str]
) -> None:
    operator = started(with_crd, start=False)
    operator.kubeconfig = tmp_path / "absent"
    expected_complaints.append("cannot start")
    assert f"KUBECONFIG is {tmp_path / 'absent'}" in refusal(operator)


def test_a_port_that_is_taken_is_told_in_a_sentence(
    with_crd: Cluster, started: Starter, expected_complaints: list[str]
) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        expected_complaints.append("cannot start")
        assert f"port {port} cannot be listened on" in refusal(started(with_crd, start=False, health_port=port))


def test_the_rights_are_those_of_the_chart() -> None:
    assert ("coordination.k8s.io", "leases", "patch") in granted()
    assert OPERATOR.startswith("system:serviceaccount:")
