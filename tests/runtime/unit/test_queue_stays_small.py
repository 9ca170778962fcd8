"""What the queue learns of forwards does not grow with what callers make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slipway_runtime.serve.inference.queue import MOST_PACES, Queue
from slipway_runtime.tasks.adapter import Item


@dataclass(frozen=True)
class PerOptions:
    """As Whisper's: one for each set of options, among them a prompt of the caller's own."""

    prompt: str

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        return [None for _ in items]


def test_the_paces_of_forwards_that_differ_by_a_callers_words_are_forgotten() -> None:
    queue = Queue(1000)
    for number in range(10 * MOST_PACES):
        queue.pace(PerOptions(f"prompt {number}")).observe(10, 0.1)
        assert len(queue._paces) <= MOST_PACES


def test_the_pace_of_a_forward_in_use_is_kept() -> None:
    queue = Queue(1000)
    used = PerOptions("used")
    pace = queue.pace(used)
    for number in range(10 * MOST_PACES):
        queue.pace(PerOptions(f"prompt {number}"))
        assert queue.pace(used) is pace
