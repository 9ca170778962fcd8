"""From start to Ready with steps that are plain functions and a clock that only moves when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve.life.lifecycle import Lifecycle, Steps, describe
from slipway_runtime.tasks.adapter import Loaded

ARTIFACT = Artifact(Path("/model"), "org/name", "c0ffee", {}, (), 1000)
LOADED = Loaded("fill-mask", {}, 512, "cpu", 10)
MISSING = ModelFault("ModelNotFound", "org/name was not found", "model.id")


class Clock:
    """Sleeping moves it; every sleep is remembered."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def lifecycle(
    clock: Clock, faults: list[Exception], *, token: Callable[[], object] = lambda: None, **changes: Any
) -> Lifecycle:
    """One whose attempts fail with `faults` in turn and then succeed."""
    left = list(faults)

    async def fetch(_: Progress) -> Artifact:
        if left:
            raise left.pop(0)
        return ARTIFACT

    async def load(_: Artifact) -> Loaded:
        return LOADED

    async def warm_up(_: Loaded) -> None:
        pass

    return Lifecycle(Steps(fetch, load, warm_up, token), clock=clock, sleep=clock.sleep, **changes)


async def test_without_faults_ready_at_once() -> None:
    life = lifecycle(Clock(), [])
    await life.run()
    assert (life.stage, life.loaded) == ("Ready", LOADED)
    assert describe(life)["model"] == {
        "id": "org/name", "revision": "c0ffee", "task": "fill-mask", "format": "safetensors", "sizeBytes": 1000,
        "fromCache": False,
    }  # fmt: skip


async def test_retries_after_10_seconds_doubling_to_5_minutes() -> None:
    clock = Clock()
    waits: list[float] = []
    life = lifecycle(clock, [MISSING] * 8)
    original = life._fail

    async def noted(fault: ModelFault, retry_in: float) -> None:
        waits.append(retry_in)
        await original(fault, retry_in)

    life._fail = noted  # type: ignore[method-assign]
    await life.run()
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert sum(clock.slept) == pytest.approx(sum(waits))
    assert life.fault is None


async def test_a_changed_token_file_ends_the_wait_early() -> None:
    clock = Clock()
    tokens = iter(["old", "old", "new"])
    life = lifecycle(clock, [MISSING], token=lambda: next(tokens), retry_seconds=300.0)
    await life.run()
    assert sum(clock.slept) == pytest.approx(4.0)


async def test_an_unforeseen_error_is_tried_again_too_and_its_text_stays_inside() -> None:
    clock = Clock()
    life = lifecycle(clock, [RuntimeError("hf_secret")])
    await life.run()
    assert life.stage == "Ready"
    assert clock.slept


async def test_a_fault_is_described_with_code_reason_field_and_when_it_is_tried_again() -> None:
    clock = Clock()
    life = lifecycle(clock, [])
    await life._fail(MISSING, 10)
    clock.now += 4
    assert describe(life)["stage"] == "Failed"
    assert describe(life)["error"] == {
        "code": 67, "reason": "ModelNotFound", "message": "org/name was not found", "param": "model.id",
        "retryInSeconds": 6.0,
    }  # fmt: skip


async def test_looking_again_does_not_look_like_recovery_until_the_source_has_been_listed() -> None:
    life = lifecycle(Clock(), [])
    await life._fail(MISSING, 10)
    await life._enter("Downloading")
    assert describe(life)["error"] is not None
    assert life.stage == "Failed"
    life.progress.expect(500)
    assert (describe(life)["stage"], describe(life)["error"]) == ("Downloading", None)


async def test_nothing_leads_out_of_draining() -> None:
    life = lifecycle(Clock(), [])
    await life.drain()
    await life._enter("Ready")
    assert life.stage == "Draining"
