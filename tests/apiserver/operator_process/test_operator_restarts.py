"""The operator ends at any moment, and comes back: nothing is written twice, nothing is lost, nobody is asked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_operator import kinds

from tests.apiserver.operator_process.conftest import Starter
from tests.support.apiserver import Cluster
from tests.support.builders import endpoint
from tests.support.chart import install_rights
from tests.support.operator import CHILDREN, LEASE, NAMESPACE, Operator, Space, writes
from tests.support.proxy import Proxy
from tests.support.waiting import consistently, eventually

Object = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for operators that stand for election; no controllers, so that only the operator writes."""
    with Cluster(tmp_path_factory.mktemp("restarts")) as started:
        started.install_crds()
        install_rights(started)
        yield started


@pytest.fixture
def space(cluster: Cluster) -> Space:
    name = f"t-{uuid.uuid4().hex[:10]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return Space(cluster, name)


@pytest.fixture(autouse=True)
def free_lease(cluster: Cluster) -> None:
    """Each test begins with nobody leading, as after a clean end of the last."""
    cluster.http.delete(LEASE)


def holder(cluster: Cluster) -> str:
    reply = cluster.http.get(LEASE)
    return str(reply.json()["spec"].get("holderIdentity", "")) if reply.is_success else ""


def settled(space: Space, names: list[str]) -> bool:
    return all(space.status(name).get("phase") for name in names)


def test_a_restart_with_twenty_endpoints_writes_nothing(cluster: Cluster, space: Space, started: Starter) -> None:
    operator = started(cluster)
    names = [f"e{number}" for number in range(20)]
    for number, name in enumerate(names):
        resources = {"limits": {"cpu": "1000m", "memory": "1024Mi", "nvidia.com/gpu": 1}}
        template = {
            "env": [{"name": "EMPTY", "value": ""}],
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"a": "b"},
        }
        changes: Object = {
            "replicas": number % 3,
            "resources": resources,
            "podTemplate": template if number % 2 else {},
        }
        cluster.create(endpoint(name, namespace=space.name, **changes))
    eventually(lambda: settled(space, names))
    # Somebody else's condition beside ours is no reason to write, either.
    cluster.http.patch(
        space.path("ModelEndpoint", "e0") + "/status",
        params={"fieldManager": "auditor"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        json={
            "apiVersion": "slipway.dev/v1alpha1",
            "kind": "ModelEndpoint",
            "metadata": {"name": "e0"},
            "status": {
                "conditions": [
                    {
                        "type": "Audited",
                        "status": "True",
                        "reason": "Fine",
                        "message": "",
                        "lastTransitionTime": "2026-11-21T09:00:00Z",
                    }
                ]
            },
        },
    ).raise_for_status()
    assert operator.stop() == 0
    before = len(cluster.audit())
    operator.start()
    eventually(operator.leads)
    eventually(
        lambda: (
            operator.metrics().get('controller_runtime_reconcile_time_seconds_count{controller="ModelEndpoint"}', 0)
            >= 20
        )
    )
    consistently(lambda: not writes(cluster, user=operator.user)[before:], duration=3)
    assert "Audited" in str(space.status("e0"))


# -- SIGKILL at each write (reliability.md, harness step 3) ---------------------------------------------------------

WRITES = 5
"""Of an endpoint with two replicas where no pod appears: ServiceAccount, Service, Deployment, budget, status."""


def outcome(space: Space) -> Object:
    """Everything that the operator wrote, without what differs from run to run."""
    unstable = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "namespace", "lastTransitionTime"}

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(item) for key, item in value.items() if key not in unstable and "IP" not in key}
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        return "NAMESPACE".join(value.split(space.name)) if isinstance(value, str) else value

    found = {kind: [cleaned(obj) for obj in space.all(kind)] for kind in (*CHILDREN, "ModelEndpoint")}
    for objects in found.values():
        for obj in objects:
            # The digest holds the owner's uid.
            obj["metadata"].get("annotations", {}).pop("slipway.dev/rendered", None)
    return found


def run(cluster: Cluster, space: Space, operator: Operator) -> Object:
    """Create an endpoint and wait until it has all that it gets without pods."""
    cluster.create(endpoint(namespace=space.name, replicas=2))

    def done() -> bool:
        if not operator.is_running():
            operator.start(wait=False)
        return space.has_children(*CHILDREN) and bool(space.status().get("phase"))

    eventually(done)
    return outcome(space)


@pytest.fixture
def reference(cluster: Cluster, started: Starter) -> Object:
    """The end state of a run without faults, and the count of its writes."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    space = Space(cluster, name)
    with Proxy(cluster) as proxy:
        operator = started(cluster, server=proxy.url, watch_namespaces=name)
        found = run(cluster, space, operator)
        operator.stop()
    assert len(proxy.writes) == WRITES, proxy.writes
    return found


def test_killed_before_or_after_any_write_it_ends_as_if_nothing_had_happened(
    cluster: Cluster, started: Starter, reference: Object
) -> None:
    for moment in ("before", "after"):
        for number in range(1, WRITES + 1):
            name = f"t-{moment}-{number}-{uuid.uuid4().hex[:6]}"
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            space = Space(cluster, name)
            with Proxy(cluster) as proxy:
                operator = started(
                    cluster, f"op-{moment}-{number}", start=False, server=proxy.url, watch_namespaces=name
                )
                killed: list[int] = []

                def kill(count: int, when: str, operator: Operator = operator, killed: list[int] = killed) -> bool:
                    if killed or (count, when) != (number, moment):  # noqa: B023 - called within this turn of the loop
                        return False
                    killed.append(count)
                    operator.kill()
                    return True

                proxy.on_write = kill
                cluster.http.delete(LEASE)
                operator.start()
                found = run(cluster, space, operator)
                assert killed == [number], f"{moment} {number}: it was not killed"
                assert found == reference, f"killed {moment} write {number}"
                # What was committed is not written again, bar the write whose answer was lost.
                assert len(proxy.writes) <= WRITES + 1, (moment, number, proxy.writes)
                assert not [write for write in proxy.writes if write.startswith("DELETE")]
                operator.kill()


# -- two replicas ------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(cluster: Cluster, started: Starter) -> list[Operator]:
    """A leader and a standby."""
    times = {"lease_duration": 6, "lease_deadline": 4, "lease_renew": 1}
    leader = started(cluster, "slipway-a", **times)
    eventually(leader.leads)
    return [leader, started(cluster, "slipway-b", **times)]


def test_one_leads_and_the_other_is_as_healthy(cluster: Cluster, space: Space, two: list[Operator]) -> None:
    leader, standby = two
    consistently(lambda: leader.leads() and not standby.leads(), duration=2)
    for operator in two:
        for path in ("/livez", "/readyz"):
            assert operator.get(path).text == "ok\n"
    cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.status().get("phase"))
    assert not [line for line in standby.log() if str(line["message"]).startswith("applied")]
    # A queue that only grows would look like hanging workers when the standby takes over.
    assert standby.metrics()['workqueue_depth{name="ModelEndpoint"}'] == 0


def test_a_terminated_leader_hands_over_at_once(cluster: Cluster, space: Space, two: list[Operator]) -> None:
    leader, standby = two
    assert leader.stop() == 0
    begun = time.monotonic()
    eventually(standby.leads)
    assert time.monotonic() - begun < 4, "as if it had waited for the lease's end"
    cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.status().get("phase"))
    assert holder(cluster) == "slipway-b"


def test_a_killed_leader_is_followed_when_its_lease_ends(cluster: Cluster, space: Space, two: list[Operator]) -> None:
    leader, standby = two
    leader.kill()
    cluster.create(endpoint(namespace=space.name))
    eventually(standby.leads, timeout=25)  # its lease is of six
    eventually(lambda: space.status().get("phase"))


def test_a_leader_frozen_for_longer_than_its_lease_does_not_write_when_it_wakes(
    cluster: Cluster, space: Space, two: list[Operator]
) -> None:
    leader, standby = two
    leader.freeze()
    eventually(standby.leads)
    cluster.create(endpoint(namespace=space.name))
    eventually(lambda: space.status().get("phase"))
    leader.thaw()
    eventually(lambda: not leader.leads())
    assert standby.leads()
    consistently(lambda: holder(cluster) == "slipway-b" and not leader.leads(), duration=2)
    eventually(lambda: leader.get("/livez").status_code == 200)


def test_two_operators_that_both_lead_end_in_the_same_state(cluster: Cluster, space: Space, started: Starter) -> None:
    """Two Leases instead of one: what a split would do. They do not fight."""
    one = started(cluster, "slipway-a", lease_name="slipway")
    two = started(cluster, "slipway-b", lease_name="slipway-too", user="admin")
    eventually(one.leads)
    eventually(lambda: 'leader_election_master_status{name="slipway-too"}' in two.metrics())
    before = len(cluster.audit())
    for number in range(5):
        cluster.create(endpoint(f"e{number}", namespace=space.name))
    names = [f"e{number}" for number in range(5)]
    eventually(lambda: settled(space, names))

    def count() -> int:
        return len(
            [
                w
                for user in (one.user, two.user)
                for w in writes(cluster, user=user, namespace=space.name)
                if "POST" not in w
            ]
        )

    assert before
    total = eventually(lambda: count() or None)
    consistently(lambda: count() == eventually(lambda: count() or None), duration=2)
    # 4 writes each, twice, and the test's own creations.
    assert total <= 5 * 4 * 2 + 5 + 10
    for name in names:
        assert (kinds.controller_of(space.get("Service", name)) or {})["name"] == name


def test_the_lease_is_in_the_operators_own_namespace(cluster: Cluster, started: Starter) -> None:
    operator = started(cluster)
    eventually(operator.leads)
    assert f"/namespaces/{NAMESPACE}/" in LEASE
    spec = cluster.http.get(LEASE).json()["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("slipway-0", 15)
    operator.stop()
    assert holder(cluster) == ""
