"""The work queue: once, serially, in order of urgency, and later when asked."""

from __future__ import annotations

import asyncio

import pytest
from slipway_operator.controller.queue import WorkQueue
from slipway_operator.kinds import Key

from tests.support.clock import Clock

A, B, C = (Key("default", name) for name in "abc")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue("test", retry_base=0.5, retry_max=60.0, clock=clock, jitter=lambda: 1.0)


async def taken(queue: WorkQueue) -> Key | None:
    """What get() returns now; None if it waits."""
    try:
        async with asyncio.timeout(0.01):
            return await queue.get()
    except TimeoutError:
        return None


async def test_a_key_added_often_is_handled_once(queue: WorkQueue) -> None:
    for _ in range(5):
        queue.add(A)
    assert await taken(queue) == A
    queue.done(A)
    assert await taken(queue) is None


async def test_keys_come_in_the_order_in_which_they_were_added(queue: WorkQueue) -> None:
    for key in (B, A, C):
        queue.add(key)
    assert [await taken(queue) for _ in range(3)] == [B, A, C]


async def test_a_key_is_never_with_two_workers(queue: WorkQueue) -> None:
    queue.add(A)
    assert await taken(queue) == A
    queue.add(A)
    assert await taken(queue) is None
    queue.done(A)
    assert await taken(queue) == A
    queue.done(A)
    assert await taken(queue) is None


async def test_what_changed_comes_before_what_is_only_looked_at_again(queue: WorkQueue) -> None:
    queue.add(A, urgent=False)
    queue.add(B, urgent=False)
    queue.add(C)
    queue.add(B)
    assert [await taken(queue) for _ in range(3)] == [C, B, A]


async def test_an_urgent_key_is_not_moved_down(queue: WorkQueue) -> None:
    queue.add(A)
    queue.add(B)
    queue.add(A, urgent=False)
    assert [await taken(queue), await taken(queue)] == [A, B]


async def test_urgency_of_a_change_during_processing_is_kept(queue: WorkQueue) -> None:
    queue.add(A)
    await taken(queue)
    queue.add(A)
    queue.add(A, urgent=False)
    queue.add(B, urgent=False)
    queue.done(A)
    assert [await taken(queue), await taken(queue)] == [A, B]


async def test_backoff_doubles_up_to_its_limit_and_starts_anew_after_success(queue: WorkQueue) -> None:
    assert [queue.retry(A) for _ in range(10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    queue.forget(A)
    assert queue.retry(A) == 0.5


async def test_backoff_is_spread_over_the_upper_half(clock: Clock) -> None:
    queue = WorkQueue("test", retry_base=1.0, retry_max=60.0, clock=clock, jitter=lambda: 0.0)
    assert queue.retry(A) == 0.5


async def test_the_servers_retry_after_is_obeyed(queue: WorkQueue, clock: Clock) -> None:
    assert queue.retry(A, at_least=7.0) == 7.0
    clock.advance(6.9)
    assert await taken(queue) is None
    clock.advance(0.2)
    assert await taken(queue) == A


async def test_the_earliest_time_that_was_asked_for_wins(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(A, 10)
    queue.add_after(A, 2)
    queue.add_after(A, 5)
    clock.advance(2)
    assert await taken(queue) == A
    queue.done(A)
    clock.advance(20)
    assert await taken(queue) is None


async def test_a_change_does_not_wait_for_the_backoff(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(A, 60)
    queue.add(A)
    assert await taken(queue) == A
    queue.done(A)
    clock.advance(100)
    assert await taken(queue) is None


async def test_a_worker_that_waits_is_woken_by_a_new_key(queue: WorkQueue) -> None:
    queue.add_after(B, 3600)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    async with asyncio.timeout(1):
        assert await waiting == A


async def test_a_cancelled_worker_takes_no_key_with_it(queue: WorkQueue) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await taken(queue) == A


async def test_the_longest_wait_is_told_even_of_a_key_that_was_moved_up(queue: WorkQueue, clock: Clock) -> None:
    assert queue.oldest() == 0
    queue.add(A, urgent=False)
    clock.advance(30)
    queue.add(B)
    queue.add(A)
    assert queue.oldest() == 30


async def test_a_cleared_queue_has_forgotten_everything(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A)
    queue.add_after(B, 1)
    queue.retry(C)
    queue.clear()
    clock.advance(100)
    assert len(queue) == 0
    assert await taken(queue) is None
    assert queue.retry(C) == 0.5
