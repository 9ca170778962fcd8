"""Queue and batcher with a forward that is a plain function: no model, no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from slipway_runtime.errors import InferenceFailed, Overloaded
from slipway_runtime.serve.batcher import Batcher, run_batch
from slipway_runtime.serve.metrics import Metrics
from slipway_runtime.serve.queue import Queue
from slipway_runtime.tasks.adapter import Item


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
        taken = await queue.take(100)
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
    first = await queue.take(1000)
    assert first[0].item.data == 1


@pytest.mark.parametrize("numbers", [(13,), (13, 13), (1, 13, 13, 2)])
def test_each_outcome_stays_at_its_place(numbers: tuple[int, ...]) -> None:
    outcomes = run_batch(Doubler().items(*numbers))
    for number, outcome in zip(numbers, outcomes, strict=True):
        check: Callable[[Any], bool] = lambda o: isinstance(o, InferenceFailed)  # noqa: E731
        assert check(outcome) if number == 13 else outcome == 2 * number
