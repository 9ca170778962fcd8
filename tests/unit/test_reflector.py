"""A reflector keeps its Store equal to the API server, whatever the API server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from slipway_operator import errors, kinds, metrics
from slipway_operator.cluster.reflector import Reflector
from slipway_operator.cluster.store import Store

from tests.support.clock import Clock
from tests.support.waiting import aeventually

Object = dict[str, Any]


def obj(version: int, name: str = "a") -> Object:
    return {"metadata": {"name": name, "namespace": "default", "uid": f"u-{name}", "resourceVersion": str(version)}}


def event(kind: str, version: int, name: str = "a") -> Object:
    return {"type": kind, "object": obj(version, name)}


def failure(code: int, reason: str) -> Object:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": reason, "message": "words"}}


class Server:
    """Answers lists and watches from a script; the last watch stays open."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[str] = []

    async def list(self, resource: kinds.Resource, namespace: str | None = None, **params: str) -> Object:
        del resource, namespace
        self.asked.append("list" + ("+" if "continue" in params else ""))
        answer: Object = self._next()
        return answer

    @asynccontextmanager
    async def watch(self, _: kinds.Resource, __: str | None, **params: str) -> AsyncIterator[AsyncIterator[Any]]:
        self.asked.append(f"watch {params['resourceVersion']}")
        if not self.script:
            yield self._events([asyncio.Event()])
            return
        yield self._events(self._next())

    def _next(self) -> Any:
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _events(self, events: Sequence[Any]) -> AsyncIterator[Any]:
        for item in events:
            if isinstance(item, asyncio.Event):
                await item.wait()
            elif callable(item):
                item()
            else:
                yield item


def page(version: int, *items: Object, token: str = "") -> Object:
    return {"metadata": {"resourceVersion": str(version), "continue": token}, "items": list(items)}


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store(kinds.SERVICE)
        self.told: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, server: Server, *, silence: float = 60.0, jitter: float = 0.0) -> Reflector:
        made = Reflector(
            server,  # type: ignore[arg-type]
            self.store,
            namespace=None,
            changed=lambda one: self.told.append(one["metadata"]["name"]),
            silence=silence,
            missing_poll=0.01,
            clock=self.clock,
            jitter=lambda: jitter,
        )
        self.tasks.append(asyncio.create_task(made.run()))
        return made

    def names(self) -> set[str]:
        return {key.name for key in self.store}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


def soon(check: Callable[[], object]) -> Awaitable[object]:
    return aeventually(lambda: asyncio.sleep(0, check() or None), timeout=3, interval=0.001)


async def test_it_lists_and_then_follows_the_watch(bench: Bench) -> None:
    later = bench.clock.advance
    server = Server(
        page(5, obj(3, "a"), obj(4, "b")), [event("ADDED", 6, "c"), event("DELETED", 7, "a"), lambda: later(5)]
    )
    reflector = bench.start(server)
    await reflector.synced.wait()
    await soon(lambda: bench.names() == {"b", "c"})
    assert sorted(bench.told) == ["a", "a", "b", "c"]
    await soon(lambda: server.asked == ["list", "watch 5", "watch 7"])


async def test_pages_are_put_together_before_they_count(bench: Bench) -> None:
    bench.store.put(obj(1, "old"))
    bench.start(Server(page(5, obj(3, "a"), token="more"), page(5, obj(4, "b"))))
    await soon(lambda: bench.names() == {"a", "b"})
    assert sorted(bench.told) == ["a", "b", "old"]


async def test_a_watch_that_is_too_old_lists_anew_and_tells_what_vanished(bench: Bench) -> None:
    server = Server(page(5, obj(3, "a"), obj(4, "b")), [failure(410, "Expired")], page(9, obj(8, "b")))
    bench.start(server)
    await soon(lambda: bench.names() == {"b"})
    assert server.asked[:3] == ["list", "watch 5", "list"]
    assert sorted(bench.told) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    "trouble",
    [
        errors.Unreachable("refused"),
        errors.from_response(500, b"{}"),
        errors.from_response(503, b"<html>"),
        errors.Forbidden(403, "Forbidden", "may not list"),
        errors.Unauthorized(401, "Unauthorized", "who?"),
        errors.TooManyRequests(429, "TooManyRequests", "slowly", retry_after=0.05),
    ],
)
async def test_no_error_ends_it(bench: Bench, trouble: errors.ClusterError) -> None:
    server = Server(trouble, page(5, obj(3, "a")), trouble, [event("ADDED", 6, "b")])
    bench.start(server)
    await soon(lambda: bench.names() == {"a", "b"})
    assert not bench.tasks[0].done()
    assert server.asked[:4] == ["list", "list", "watch 5", "watch 5"]


async def test_the_servers_retry_after_is_obeyed(bench: Bench) -> None:
    reflector = bench.start(Server(page(1)))
    asked = errors.TooManyRequests(429, "TooManyRequests", "slowly", retry_after=7.0)
    assert reflector._delay(1, asked) == 7.0


async def test_the_wait_grows_to_a_quarter_of_a_minute(bench: Bench) -> None:
    reflector = bench.start(Server(page(1)), jitter=1.0)
    delays = [reflector._delay(count, errors.Unreachable("x")) for count in range(1, 9)]
    assert delays == [0.5, 1, 2, 4, 8, 15, 15, 15]


async def test_a_missing_kind_is_polled_for_and_counts_as_synced(bench: Bench) -> None:
    missing = errors.NotFound(404, "NotFound", "the server could not find the requested resource")
    bench.store.put(obj(1, "old"))
    reflector = bench.start(Server(missing, missing, page(5, obj(3, "a"))))
    await reflector.synced.wait()
    assert reflector.missing
    assert bench.names() == set()
    await soon(lambda: bench.names() == {"a"})
    assert not reflector.missing


async def test_a_silent_watch_is_opened_anew(bench: Bench) -> None:
    server = Server(page(5), [asyncio.Event()], [event("ADDED", 6, "a")])
    bench.start(server, silence=0.02)
    await soon(lambda: bench.names() == {"a"})
    assert server.asked[:3] == ["list", "watch 5", "watch 5"]


async def test_a_watch_that_ends_as_soon_as_it_opens_is_not_a_busy_loop(bench: Bench) -> None:
    server = Server(page(5), *([] for _ in range(500)))
    bench.start(server)
    await soon(lambda: len(server.asked) >= 3)
    await asyncio.sleep(0.2)
    assert len(server.asked) < 6


async def test_bookmarks_move_the_version_and_keep_the_watch_fresh(bench: Bench) -> None:
    server = Server(page(5), [lambda: bench.clock.advance(100), event("BOOKMARK", 90), asyncio.Event()])
    reflector = bench.start(server, silence=0.05)
    await soon(lambda: "watch 90" in server.asked)
    assert reflector.age == 0
    assert bench.told == []
    bench.clock.advance(30)
    assert reflector.age == 30


async def test_a_replayed_event_changes_nothing(bench: Bench) -> None:
    replay = [event("ADDED", 6, "b"), failure(500, "InternalError")]
    server = Server(page(5), replay, [event("ADDED", 6, "b"), event("MODIFIED", 8, "b"), event("ADDED", 6, "b")])
    bench.start(server)
    await soon(lambda: bench.told == ["b", "b"])
    held = bench.store.get(kinds.Key("default", "b"))
    assert held is not None
    assert held["metadata"]["resourceVersion"] == "8"


async def test_restarts_are_counted_by_cause(bench: Bench) -> None:
    def count(cause: str) -> float:
        counted: float = metrics.WATCH_RESTARTS.labels("services", cause)._value.get()
        return counted

    before = count("gone")
    bench.start(Server(page(5), [failure(410, "Expired")], page(9)))
    await soon(lambda: count("gone") == before + 1)
