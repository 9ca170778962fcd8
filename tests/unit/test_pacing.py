"""When a new status is worth a write."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator.kinds import Key
from slipway_operator.model_endpoint.pacing import Pacer

from tests.support.builders import condition
from tests.support.clock import Clock

KEY = Key("default", "emotions")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacer(clock: Clock) -> Pacer:
    return Pacer(first_delay=1.0, soft_interval=10.0, clock=clock)


def status(phase: str = "Initializing", **more: Any) -> dict[str, Any]:
    ready = condition("Ready", False, "PodsStarting", "0 of 1", observedGeneration=1)
    return {"phase": phase, "replicas": 1, "readyReplicas": 0, "conditions": [ready], **more}


def test_the_first_status_waits_a_moment_for_the_first_pods(pacer: Pacer, clock: Clock) -> None:
    assert pacer.delay(KEY, {}, status(), starting=True) == 1.0
    clock.advance(0.4)
    assert pacer.delay(KEY, {}, status(), starting=True) == pytest.approx(0.6)
    clock.advance(0.6)
    assert pacer.delay(KEY, {}, status(), starting=True) == 0.0


def test_the_first_status_does_not_wait_once_pods_or_a_fault_are_seen(pacer: Pacer) -> None:
    assert pacer.delay(KEY, {}, status(), starting=False) == 0.0


def test_a_change_of_phase_or_condition_is_written_at_once(pacer: Pacer) -> None:
    pacer.written(KEY)
    assert pacer.delay(KEY, status(), status("Failed"), starting=False) == 0.0
    other = [condition("Ready", False, "ImagePullFailed", "", observedGeneration=1)]
    assert pacer.delay(KEY, status(), status(conditions=other), starting=False) == 0.0
    newer = [condition("Ready", False, "PodsStarting", "0 of 1", observedGeneration=2)]
    assert pacer.delay(KEY, status(), status(conditions=newer), starting=False) == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 2},
        {"readyReplicas": 1},
        {"progress": {"stage": "Downloading", "percent": 3}},
        {"conditions": [condition("Ready", False, "PodsStarting", "other words", observedGeneration=1)]},
    ],
)
def test_counts_progress_and_wording_are_written_now_and_then(
    pacer: Pacer, clock: Clock, change: dict[str, Any]
) -> None:
    pacer.written(KEY)
    clock.advance(3)
    assert pacer.delay(KEY, status(), status(**change), starting=False) == pytest.approx(7)
    clock.advance(7)
    assert pacer.delay(KEY, status(), status(**change), starting=False) == 0


def test_after_a_restart_nothing_waits(pacer: Pacer) -> None:
    assert pacer.delay(KEY, status(), status(readyReplicas=1), starting=False) == 0


def test_a_forgotten_endpoint_starts_anew(pacer: Pacer, clock: Clock) -> None:
    pacer.delay(KEY, {}, status(), starting=True)
    clock.advance(100)
    pacer.forget(KEY)
    assert pacer.delay(KEY, {}, status(), starting=True) == 1.0
