"""Leader election: never two, soon one, and a heartbeat that proves the watch."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from slipway_operator import errors, kinds
from slipway_operator.cluster import lease as leases
from slipway_operator.cluster.lease import Election
from slipway_operator.cluster.store import Store

from tests.support.clock import Clock
from tests.support.observed import SETTINGS
from tests.support.waiting import aeventually

Object = dict[str, Any]
EXPIRED, DEADLINE, RENEW = SETTINGS.lease_duration, SETTINGS.lease_deadline, SETTINGS.lease_renew


class Server:
    """The API server's part: one Lease, optimistic concurrency, and a watch per candidate that a test can hold up."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.watchers: list[Callable[[Object], None]] = []
        self.down = False
        self.hangs = False
        self.holders: list[str] = []

    async def create(self, _: kinds.Resource, obj: Object) -> Object:
        await self._answer()
        if self.lease is not None:
            raise errors.Conflict(409, "AlreadyExists", "leases already exists")
        return self._store(obj)

    async def merge(self, _: kinds.Resource, __: str, ___: str, patch: Object, **____: str) -> Object:
        await self._answer()
        if self.lease is None:
            raise errors.NotFound(404, "NotFound", "no lease")
        if patch["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise errors.Conflict(409, "Conflict", "the object has been modified")
        return self._store({**self.lease, "spec": {**self.lease["spec"], **patch["spec"]}})

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise errors.Unreachable("refused")

    def _store(self, obj: Object) -> Object:
        self.version += 1
        metadata = {**obj["metadata"], "uid": "u", "resourceVersion": str(self.version)}
        self.lease = {**obj, "metadata": metadata}
        self.holders.append(obj["spec"]["holderIdentity"])
        for watcher in self.watchers:
            watcher({**self.lease, "metadata": dict(metadata)})
        return {**self.lease, "metadata": dict(metadata)}


class Candidate:
    """One process that stands for election; `step` is one turn of its loop without the pause."""

    def __init__(self, server: Server, name: str, clock: Clock, **settings: Any) -> None:
        self.store = Store(kinds.LEASE)
        self.works = False
        self.deaf = False
        self.events: list[str] = []
        self.election = Election(
            server,  # type: ignore[arg-type]
            self.store,
            replace(SETTINGS, pod_name=name, **settings),
            elected=self._elected,
            deposed=self._deposed,
            clock=clock,
            now=clock.utc,
            jitter=lambda: 0.5,
        )
        server.watchers.append(self._seen)
        if server.lease is not None:
            self._seen({**server.lease, "metadata": dict(server.lease["metadata"])})

    def _seen(self, lease: Object) -> None:
        if not self.deaf and self.store.put(lease):
            self.election.observe(lease)

    async def _elected(self) -> None:
        self.works = True
        self.events.append("elected")

    async def _deposed(self) -> None:
        self.works = False
        self.events.append("deposed")

    @property
    def leads(self) -> bool:
        return self.election.leading

    async def step(self) -> None:
        election = self.election
        if election.leading:
            await election._renew()
        elif election._expires_in() <= 0:
            await election._acquire()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def one(server: Server, clock: Clock) -> Candidate:
    return Candidate(server, "one", clock)


@pytest.fixture
def two(server: Server, clock: Clock) -> Candidate:
    return Candidate(server, "two", clock)


async def test_of_two_that_stand_at_once_one_leads(server: Server, one: Candidate, two: Candidate) -> None:
    await asyncio.gather(one.step(), two.step())
    assert sorted([one.leads, two.leads]) == [False, True]
    assert (one.works, two.works) == (one.leads, two.leads)
    assert len(server.holders) == 1


async def test_a_standby_waits_while_the_leader_renews(one: Candidate, two: Candidate, clock: Clock) -> None:
    await one.step()
    for _ in range(20):
        clock.advance(RENEW)
        await one.step()
        await two.step()
    assert (one.leads, two.leads) == (True, False)


async def test_a_standby_takes_over_when_the_lease_has_not_changed_for_its_duration(
    server: Server, one: Candidate, two: Candidate, clock: Clock
) -> None:
    await one.step()
    clock.advance(EXPIRED - 0.1)
    await two.step()
    assert not two.leads
    clock.advance(0.2)
    await two.step()
    assert two.leads
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_standby_looks_again_just_when_the_lease_ends(one: Candidate, two: Candidate, clock: Clock) -> None:
    await one.step()
    clock.advance(EXPIRED - 1)
    assert two.election._until_next() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_wall_clock_an_hour_off_changes_nothing(
    server: Server, one: Candidate, clock: Clock, hours: int
) -> None:
    other_clock = Clock(clock.now)
    other_clock.skew = datetime.timedelta(hours=hours)
    two = Candidate(server, "two", other_clock)
    await one.step()
    for _ in range(20):
        clock.advance(RENEW)
        other_clock.advance(RENEW)
        await one.step()
        await two.step()
        assert (one.leads, two.leads) == (True, False)
    clock.skew = datetime.timedelta(hours=-hours)
    clock.advance(RENEW)
    await one.step()
    assert one.leads


async def test_a_leader_without_an_api_server_steps_down_before_a_standby_may_lead(
    server: Server, one: Candidate, two: Candidate, clock: Clock
) -> None:
    await one.step()
    server.down = True
    waited = 0.0
    while one.leads:
        pause = one.election._until_next()
        clock.advance(pause)
        waited += pause
        await one.step()
    assert waited <= DEADLINE + 0.01
    assert not one.works
    assert two.election._expires_in() > 0


async def test_a_renewal_that_hangs_does_not_keep_the_leader_leading(server: Server, clock: Clock) -> None:
    leader = Candidate(server, "one", clock, lease_deadline=0.05)
    await leader.step()
    server.hangs = True
    async with asyncio.timeout(5):
        await leader.election._renew()
    assert leader.leads  # the clock of the test stood still: time is left
    clock.advance(0.05)
    async with asyncio.timeout(5):
        await leader.election._renew()
    assert not leader.leads
    assert not leader.works


async def test_it_leads_again_when_the_api_server_is_back(server: Server, one: Candidate, clock: Clock) -> None:
    await one.step()
    server.down = True
    clock.advance(DEADLINE + 1)
    await one.step()
    server.down = False
    await one.step()
    assert one.leads
    assert one.events == ["elected", "deposed", "elected"]


async def test_a_failed_renewal_is_tried_again_soon(server: Server, one: Candidate, clock: Clock) -> None:
    await one.step()
    assert one.election._until_next() == pytest.approx(RENEW)
    server.down = True
    await one.step()
    assert one.election._until_next() == pytest.approx(RENEW / leases.RETRIES)


async def test_a_write_on_a_stale_view_does_not_win(
    server: Server, one: Candidate, two: Candidate, clock: Clock
) -> None:
    await one.step()
    two.deaf = True
    clock.advance(1)
    await one.step()
    clock.advance(EXPIRED)
    await two.step()
    assert not two.leads
    assert server.holders == ["one", "one"]


async def test_a_leader_that_sees_another_holder_stops_at_once(server: Server, one: Candidate, clock: Clock) -> None:
    await one.step()
    assert server.lease is not None
    server._store({**server.lease, "spec": {**server.lease["spec"], "holderIdentity": "thief"}})
    await one.step()
    assert not one.works


async def test_a_leader_whose_lease_was_deleted_takes_a_new_one(server: Server, one: Candidate) -> None:
    await one.step()
    assert server.lease is not None
    server.version += 1
    gone = {**server.lease, "metadata": {**server.lease["metadata"], "resourceVersion": str(server.version)}}
    server.lease = None
    one.store.remove(gone)
    one.election.observe(gone)
    await one.step()
    assert one.events == ["elected", "deposed"]
    await one.step()
    assert one.leads


async def test_a_released_lease_is_taken_without_waiting(server: Server, one: Candidate, two: Candidate) -> None:
    await one.step()
    await one.election.release()
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == ""
    await two.step()
    assert two.leads


async def test_a_standby_is_woken_by_the_release(server: Server, one: Candidate, two: Candidate) -> None:
    await one.step()
    standing = asyncio.create_task(two.election.run())
    await asyncio.sleep(0)
    await one.election.release()
    await aeventually(lambda: asyncio.sleep(0, two.works), timeout=1, interval=0)
    standing.cancel()
    await asyncio.gather(standing, return_exceptions=True)
    assert not two.works


async def test_only_the_holder_releases(server: Server, one: Candidate, two: Candidate) -> None:
    await one.step()
    await two.election.release()
    assert server.holders == ["one"]


async def test_a_release_that_fails_is_survived(server: Server, one: Candidate) -> None:
    await one.step()
    server.down = True
    await one.election.release()


async def test_a_container_restarted_under_its_name_leads_again_at_once(
    server: Server, one: Candidate, clock: Clock
) -> None:
    await one.step()
    again = Candidate(server, "one", clock)
    await again.step()
    assert again.leads


# -- the heartbeat ---------------------------------------------------------------------------------------------------


async def test_a_heartbeat_that_comes_back_is_fresh(one: Candidate, clock: Clock) -> None:
    await one.step()
    for _ in range(10):
        clock.advance(RENEW)
        await one.step()
        assert one.election.heartbeat_age == 0


async def test_a_dead_watch_shows_in_the_age_of_the_heartbeat_while_writes_work(
    server: Server, one: Candidate, clock: Clock
) -> None:
    await one.step()
    one.deaf = True
    for _ in range(10):
        clock.advance(RENEW)
        await one.step()
    assert one.leads
    assert one.election.heartbeat_age == pytest.approx(9 * RENEW)
    one.deaf = False
    clock.advance(RENEW)
    await one.step()
    assert one.election.heartbeat_age == 0


async def test_a_standby_that_is_behind_knows_it_from_the_conflict(
    server: Server, one: Candidate, two: Candidate, clock: Clock
) -> None:
    two.deaf = True
    await one.step()
    await two.step()
    assert not two.leads
    clock.advance(30)
    assert two.election.heartbeat_age == 30


@contextmanager
def levels(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    found += [record.levelname for record in caplog.records]


async def test_missing_rights_are_logged_as_a_warning(
    server: Server, one: Candidate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Object:
        raise errors.Forbidden(403, "Forbidden", "leases is forbidden")

    monkeypatch.setattr(server, "create", refuse)
    with levels(caplog) as found:
        await one.step()
    assert found == ["WARNING"]
    assert "leases is forbidden" in caplog.text
