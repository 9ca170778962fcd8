"""The watchdog with a clock that only moves when asked, and an inference thread that is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from slipway_runtime.errors import ModelUnavailable
from slipway_runtime.serve.life import watchdog
from slipway_runtime.serve.life.lifecycle import Lifecycle
from slipway_runtime.serve.life.watchdog import Watchdog

from tests.runtime.unit.test_lifecycle import Clock, lifecycle

LIMIT = 60.0


class AtOnce(Executor):
    """Runs what is submitted before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Device:
    """What the watchdog watches: when its forward began, and whether a self-check works."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.busy_since: float | None = None
        self.works = True
        self.checks = 0
        self.refused: list[Exception] = []
        self.life: Lifecycle = lifecycle(self.clock, [])
        self.watchdog = Watchdog(
            self.life,
            AtOnce(),
            busy_since=lambda: self.busy_since,
            self_check=self.check,
            refuse=self.refuse,
            forward_seconds=LIMIT,
            clock=self.clock,
        )

    def check(self) -> None:
        self.checks += 1
        if not self.works:
            raise RuntimeError("CUDA error")

    def refuse(self, error: Callable[[], Exception]) -> int:
        self.refused.append(error())
        return 1

    async def look(self, after: float = 0.0) -> str:
        self.clock.now += after
        await self.watchdog.look()
        return self.life.stage


@pytest.fixture
async def device() -> Device:
    made = Device()
    await made.life.run()
    return made


async def test_a_forward_over_the_limit_is_unready_over_twice_the_limit_not_live(device: Device) -> None:
    device.busy_since = device.clock.now
    assert await device.look(LIMIT) == "Ready"
    assert await device.look(1) == "Failed"
    assert device.watchdog.dead is None
    assert await device.look(LIMIT) == "Failed"
    assert device.watchdog.dead == "a forward has been running for 121 s"
    device.busy_since = None
    assert await device.look() == "Ready"
    assert device.watchdog.dead is None
    assert device.life.fault is None


async def test_while_unready_whatever_gets_into_the_queue_is_refused_with_when_to_come_back(device: Device) -> None:
    device.busy_since = device.clock.now
    await device.look(LIMIT + 1)
    await device.look(1)
    assert len(device.refused) == 2
    [error, _] = device.refused
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after == pytest.approx(10)
    assert error.message.startswith("not run: a forward has been running for more than 60 s; after 120 s ")


async def test_a_model_whose_forwards_are_long_gets_a_longer_limit(device: Device) -> None:
    device.busy_since = device.clock.now
    for _ in range(5):
        await device.look(10)
    device.busy_since = None
    await device.look()
    assert device.watchdog.limit == 4 * 50


async def test_a_forward_that_hung_and_came_back_does_not_raise_the_limit(device: Device) -> None:
    device.busy_since = device.clock.now
    await device.look(3 * LIMIT)
    device.busy_since = None
    await device.look()
    assert device.watchdog.limit == LIMIT


async def test_a_failed_self_check_is_repeated_with_growing_pauses_until_it_works(device: Device) -> None:
    device.works = False
    device.watchdog.forward_failed(RuntimeError())
    assert await device.look() == "Failed"
    checks = []
    for _ in range(40):
        await device.look(0.1)
        checks.append(device.checks)
    assert checks.index(2) == pytest.approx(5, abs=1)
    assert checks.index(3) == pytest.approx(15, abs=2)
    assert checks.index(4) == pytest.approx(35, abs=3)
    assert device.watchdog.dead == "4 self-checks in a row have failed (RuntimeError)"
    device.watchdog.forward_failed(RuntimeError())
    assert device.checks == 4, "it is tried again already"
    device.works = True
    assert await device.look(10) == "Ready"
    assert device.watchdog.dead is None


async def test_a_caller_with_poisoned_inputs_causes_one_self_check_a_second_and_a_last_one(device: Device) -> None:
    for _ in range(20):
        device.watchdog.forward_failed(ValueError())
        assert await device.look(0.1) == "Ready"
    assert device.checks in (2, 3)
    before = device.checks
    await device.look(1.5)
    await device.look(1.5)
    assert device.checks <= before + 1, "nothing has failed since"


async def test_a_self_check_that_hangs_counts_as_a_forward_that_hangs(device: Device) -> None:
    def hang() -> None:
        device.clock.now += 2 * LIMIT + 1
        assert device.watchdog.dead == "a forward has been running for 121 s"

    device.watchdog._self_check = hang
    device.watchdog.forward_failed(RuntimeError())
    assert device.watchdog.dead is None


async def test_a_fault_noticed_in_another_thread_is_told_without_waiting(device: Device) -> None:
    running = asyncio.create_task(device.watchdog.run())
    await asyncio.sleep(0)
    device.works = False
    await asyncio.to_thread(device.watchdog.forward_failed, RuntimeError())
    async with asyncio.timeout(watchdog.LOOK_SECONDS * 40):
        while device.life.stage != "Failed":  # noqa: ASYNC110 - only the stage says so
            await asyncio.sleep(0.001)
    running.cancel()


async def test_nothing_is_suspended_while_draining(device: Device) -> None:
    await device.life.drain()
    device.busy_since = device.clock.now
    assert await device.look(2 * LIMIT) == "Draining"
    device.busy_since = None
    assert await device.look() == "Draining"
