"""Queue and batcher with a forward that is a plain function: no model, no HTTP."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from slipway_runtime.errors import InferenceFailed, Overloaded
from slipway_runtime.serve.inference.batcher import Batcher, run_batch
from slipway_runtime.serve.inference.queue import Queue
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.tasks.adapter import Continuous, Feed, Item


class Doubler:
    """Doubles numbers; fails on the number 13; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        self.batches.append([item.data for item in items])
        if any(item.data == 13 for item in items):
            raise ValueError("unlucky: the input was 13")
        return [2 * item.data for item in items]

    def items(self, *numbers: int, length: int = 10) -> list[Item]:
        return [Item(self, length, number) for number in numbers]


@asynccontextmanager
async def batching(queue: Queue, budget: int = 1000) -> AsyncIterator[None]:
    with ThreadPoolExecutor(1) as executor:
        task = asyncio.create_task(Batcher(queue, executor, Metrics(), budget=budget).run())
        try:
            yield
        finally:
            task.cancel()


async def outputs(queue: Queue, items: list[Item]) -> list[Any]:
    return await asyncio.gather(*(work.output for work in queue.put(items)), return_exceptions=True)


async def test_what_waits_runs_as_one_batch() -> None:
    queue, double = Queue(1000), Doubler()
    works = queue.put(double.items(1, 2, 3))
    async with batching(queue):
        assert await asyncio.gather(*(work.output for work in works)) == [2, 4, 6]
    assert double.batches == [[1, 2, 3]]
    assert (len(queue), queue.tokens) == (0, 0)


async def test_a_poisoned_item_fails_alone_and_its_text_stays_inside() -> None:
    queue, double = Queue(1000), Doubler()
    async with batching(queue):
        first, bad, last = await outputs(queue, double.items(1, 13, 3))
        assert (first, last) == (2, 6)
        assert isinstance(bad, InferenceFailed)
        assert bad.message == "the model failed on this input (ValueError)"
        assert await outputs(queue, double.items(4)) == [8]


async def test_a_full_queue_refuses_at_once_with_when_to_come_back() -> None:
    queue, double = Queue(25), Doubler()
    queue.tokens_per_second = 5.0
    queue.put(double.items(1, 2))
    with pytest.raises(Overloaded) as caught:
        queue.put(double.items(3))
    assert caught.value.retry_after == pytest.approx(4.0)
    assert len(queue) == 2


async def test_a_queue_that_would_take_too_long_refuses_before_anything_is_read() -> None:
    queue, double = Queue(10_000, 2.0), Doubler()
    queue.put(double.items(1, 2, 3), "a")
    queue.check("a")  # nothing is known of the pace
    queue.tokens_per_second = 10.0
    with pytest.raises(Overloaded, match=r"what waits will take about 3\.0 s, at most 2 s are allowed"):
        queue.check("a")
    queue.check("b")  # has nothing waiting
    queue.tokens_per_second = 100.0
    queue.check("a")


async def test_a_request_larger_than_the_queue_is_taken_when_it_is_empty() -> None:
    queue, double = Queue(25), Doubler()
    queue.put(double.items(1, 2, 3, 4))
    assert queue.tokens == 40


async def test_dropped_work_never_runs() -> None:
    queue, double = Queue(1000), Doubler()
    gone = queue.put(double.items(1, 2))
    stays = queue.put(double.items(3))
    assert queue.drop(gone) == 2
    async with batching(queue):
        assert await stays[0].output == 6
    assert double.batches == [[3]]
    assert all(work.output.cancelled() for work in gone)


async def test_work_dropped_while_it_runs_is_ignored() -> None:
    queue, double = Queue(1000), Doubler()
    works = queue.put(double.items(1))
    async with batching(queue):
        taken = queue.take(100)
        assert queue.drop(works) == 0
        assert taken[0].output.cancelled()
        assert await outputs(queue, double.items(5)) == [10]


async def test_items_of_different_forwards_never_share_a_batch() -> None:
    queue, one, other = Queue(1000), Doubler(), Doubler()
    works = queue.put([*one.items(1), *other.items(2), *one.items(3)])
    async with batching(queue):
        await asyncio.gather(*(work.output for work in works))
    assert (one.batches, other.batches) == ([[1, 3]], [[2]])


async def test_nothing_starves_however_much_of_another_length_arrives() -> None:
    queue, double = Queue(100_000), Doubler()
    queue.put(double.items(1, length=500))
    queue.put(double.items(*range(2, 50), length=5))
    first = queue.take(1000)
    assert first[0].item.data == 1


@pytest.mark.parametrize("numbers", [(13,), (13, 13), (1, 13, 13, 2)])
def test_each_outcome_stays_at_its_place(numbers: tuple[int, ...]) -> None:
    outcomes = run_batch(Doubler().items(*numbers))
    for number, outcome in zip(numbers, outcomes, strict=True):
        check: Callable[[Any], bool] = lambda o: isinstance(o, InferenceFailed)  # noqa: E731
        assert check(outcome) if number == 13 else outcome == 2 * number


# -- between callers ------------------------------------------------------------------------------------------


async def test_a_callers_hundred_items_stand_in_one_line_and_anothers_only_one_beside_the_first() -> None:
    queue, double = Queue(100_000), Doubler()
    queue.put(double.items(*range(100)), "greedy")
    queue.take(100)
    queue.put(double.items(777), "modest")
    taken = [[work.item.data for work in queue.take(100)] for _ in range(5)]
    assert 777 in [number for batch in taken for number in batch]  # in the first window that began after it came


async def test_a_caller_that_asks_now_and_then_never_stands_behind_its_own_past() -> None:
    queue, double = Queue(100_000), Doubler()
    for number in range(50):
        queue.put(double.items(number), "modest")
        assert [work.item.data for work in queue.take(1000)] == [number]
    queue.put(double.items(*range(100, 130)), "new")
    queue.put(double.items(50), "modest")
    assert 50 in [work.item.data for work in queue.take(1000)]


async def test_nobody_can_fill_the_queue_for_all_others() -> None:
    queue, double = Queue(100), Doubler()
    queue.put(double.items(*range(10)), "greedy")
    with pytest.raises(Overloaded):
        queue.put(double.items(1), "greedy")
    queue.put(double.items(1, 2, 3, 4, 5), "modest")  # half of it: there are two
    with pytest.raises(Overloaded):
        queue.put(double.items(6), "modest")


async def test_callers_that_have_gone_leave_nothing_behind() -> None:
    queue, double = Queue(100), Doubler()
    for name in ("a", "b"):
        assert queue.drop(queue.put(double.items(1, 2), name)) == 2
    assert (len(queue), queue.tokens, queue._lines) == (0, 0, {})
    assert queue.take(100) == []


# -- continuous batches ---------------------------------------------------------------------------------------


def _fits(room: Iterator[int], _: Item) -> bool:
    return next(room, None) is not None


class Counter(Continuous):
    """Counts each item's number down, one step for all; takes new ones between steps, at most `rows`."""

    def __init__(self, rows: int = 4) -> None:
        self.rows = rows
        self.widths: list[int] = []
        self.fail_at = -1

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        return [item.data for item in items]

    def run(self, items: Sequence[Item], feed: Feed) -> None:
        left = {id(item): [item, item.data] for item in items}
        while left:
            for item in feed.more(functools.partial(_fits, iter(range(self.rows - len(left))))):
                left[id(item)] = [item, item.data]
            self.widths.append(len(left))
            if len(self.widths) == self.fail_at:
                raise RuntimeError("the device is gone")
            for key, entry in list(left.items()):
                entry[1] -= 1
                if entry[1] <= 0 or entry[0].listener.gone:
                    del left[key]
                    feed.done(entry[0], entry[0].data)

    def items(self, *numbers: int, length: int = 10) -> list[Item]:
        return [Item(self, length, number) for number in numbers]


async def test_items_join_a_continuous_batch_and_leave_it_as_they_end() -> None:
    queue, count = Queue(1000), Counter()
    endless = queue.put(count.items(10**9))
    first = queue.put(count.items(3, 4))
    async with batching(queue):
        assert await asyncio.gather(*(work.output for work in first)) == [3, 4]
        later = queue.put(count.items(5))
        assert await later[0].output == 5
        assert not endless[0].output.done()
        queue.drop(endless)
    assert count.widths[:4] == [3, 3, 3, 2]
    # The endless one alone, but for the five steps of the one that came later, at once or after a while.
    assert (max(count.widths[4:]), count.widths[4:].count(2)) == (2, 5)


async def test_who_has_gone_leaves_a_continuous_batch() -> None:
    queue, count = Queue(1000), Counter()
    endless = queue.put(count.items(10**9))
    async with batching(queue):
        short = queue.put(count.items(3))
        assert await short[0].output == 3
        queue.drop(endless)
        assert await outputs(queue, count.items(2)) == [2]


async def test_another_forward_gets_its_turn_after_a_continuous_batch() -> None:
    queue, count, double = Queue(1000), Counter(), Doubler()
    long = queue.put(count.items(500))
    async with batching(queue):
        other = queue.put(double.items(4))
        later = queue.put(count.items(1))
        done = await asyncio.gather(long[0].output, other[0].output, later[0].output)
        assert list(done) == [500, 8, 1]
    assert max(count.widths) == 1  # what came after the other's item did not overtake it


async def test_a_continuous_batch_that_breaks_fails_those_in_it_and_no_others() -> None:
    queue, count = Queue(1000), Counter(rows=2)
    count.fail_at = 3
    works = queue.put(count.items(5, 6, 7))
    async with batching(queue):
        first, second, third = await asyncio.gather(*(work.output for work in works), return_exceptions=True)
    assert isinstance(first, InferenceFailed)
    assert isinstance(second, InferenceFailed)
    assert third == 7
