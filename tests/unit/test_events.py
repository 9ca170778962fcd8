"""Kubernetes Events: the same words raise a count, and nothing waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from slipway_operator import errors, kinds
from slipway_operator.cluster import events
from slipway_operator.cluster.events import Recorder

from tests.support.builders import stored
from tests.support.clock import Clock

Object = dict[str, Any]


class Server:
    def __init__(self) -> None:
        self.created: list[Object] = []
        self.patched: list[tuple[str, Object]] = []
        self.refuses: errors.ClusterError | None = None

    async def create(self, _: kinds.Resource, obj: Object) -> Object:
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        self.created.append(obj)
        return obj

    async def merge(self, _: kinds.Resource, __: str, name: str, patch: Object) -> Object:
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        self.patched.append((name, patch))
        return patch


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def recorder(server: Server, clock: Clock) -> AsyncIterator[Recorder]:
    made = Recorder(server, instance="slipway-0", clock=clock, now=clock.utc)  # type: ignore[arg-type]
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


ABOUT = stored("emotions", namespace="team-a")


async def test_an_event_names_its_object_and_who_says_it(recorder: Recorder, server: Server) -> None:
    recorder.emit(ABOUT, "ImagePullFailed", "words", warning=True)
    await recorder.flush(1)
    (event,) = server.created
    assert event["metadata"]["namespace"] == "team-a"
    assert event["involvedObject"]["uid"] == ABOUT["metadata"]["uid"]
    assert event["involvedObject"]["kind"] == "ModelEndpoint"
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning",
        "ImagePullFailed",
        "words",
        1,
    )
    assert event["source"] == {"component": "slipway-operator"}
    assert event["reportingInstance"] == "slipway-0"


async def test_the_same_words_raise_a_count(recorder: Recorder, server: Server, clock: Clock) -> None:
    for _ in range(3):
        recorder.emit(ABOUT, "R", "words")
        clock.advance(60)
    await recorder.flush(1)
    assert len(server.created) == 1
    name = server.created[0]["metadata"]["name"]
    assert [(who, patch["count"]) for who, patch in server.patched] == [(name, 2), (name, 3)]


@pytest.mark.parametrize("other", [("R", "other words"), ("S", "words")])
async def test_other_words_are_another_event(recorder: Recorder, server: Server, other: tuple[str, str]) -> None:
    recorder.emit(ABOUT, "R", "words")
    recorder.emit(ABOUT, *other)
    recorder.emit(stored("another"), "R", "words")
    await recorder.flush(1)
    assert len(server.created) == (3 if other != ("R", "words") else 2)
    assert len({event["metadata"]["name"] for event in server.created}) == 3


async def test_the_same_words_long_after_are_a_new_event(recorder: Recorder, server: Server, clock: Clock) -> None:
    recorder.emit(ABOUT, "R", "words")
    await recorder.flush(1)
    clock.advance(events.WINDOW + 1)
    recorder.emit(ABOUT, "R", "words")
    await recorder.flush(1)
    assert len(server.created) == 2
    assert server.patched == []


async def test_an_event_that_expired_is_written_anew(
    recorder: Recorder, server: Server, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    recorder.emit(ABOUT, "R", "words")
    await recorder.flush(1)

    async def gone(*_: Any) -> Object:
        raise errors.NotFound(404, "NotFound", "events not found")

    monkeypatch.setattr(server, "merge", gone)
    clock.advance(1)
    recorder.emit(ABOUT, "R", "words")
    await recorder.flush(1)
    assert len(server.created) == 2


@pytest.mark.parametrize("error", [errors.Unreachable("refused"), errors.Forbidden(403, "Forbidden", "terminating")])
async def test_an_event_that_cannot_be_written_is_dropped_and_the_next_one_written(
    recorder: Recorder, server: Server, error: errors.ClusterError
) -> None:
    server.refuses = error
    recorder.emit(ABOUT, "R", "one")
    await recorder.flush(1)
    server.refuses = None
    recorder.emit(ABOUT, "R", "two")
    await recorder.flush(1)
    assert [event["message"] for event in server.created] == ["two"]


async def test_a_message_is_cut_to_what_the_api_server_takes(recorder: Recorder, server: Server) -> None:
    recorder.emit(ABOUT, "R", "m" * 5000)
    await recorder.flush(1)
    assert len(server.created[0]["message"]) == 1024


async def test_a_full_queue_drops_and_never_waits(server: Server, clock: Clock) -> None:
    recorder = Recorder(server, instance="x", clock=clock, now=clock.utc)  # type: ignore[arg-type]
    for number in range(events.QUEUED + 50):
        recorder.emit(ABOUT, "R", str(number))
    await recorder.flush(0.01)
    assert server.created == []


async def test_memory_of_series_is_bounded(recorder: Recorder, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 5)
    for number in range(20):
        recorder.emit(ABOUT, "R", str(number))
    await recorder.flush(1)
    assert len(recorder._series) == 5
