"""The queue's side of a continuous batch, in the hands of a test: who arrives before which step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slipway_runtime.tasks.adapter import Continuous, Item


class Arrivals:
    """A feed that gives items before certain steps, as far as they fit; the rest are asked again at the next."""

    def __init__(self, arrivals: Mapping[int, Sequence[Item]]) -> None:
        self._arrivals = dict(arrivals)
        self._waiting: list[Item] = []
        self._inside = 0
        self.steps = 0
        self.most_inside = 0
        self.outputs: dict[int, Any] = {}

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:
        self._waiting += self._arrivals.pop(self.steps, [])
        self.steps += 1
        given: list[Item] = []
        while self._waiting and fits(self._waiting[0]):
            given.append(self._waiting.pop(0))
        self._enter(len(given))
        return given

    def done(self, item: Item, output: Any) -> None:
        assert id(item) not in self.outputs, "an item was answered twice"
        self.outputs[id(item)] = output
        self._inside -= 1

    def run(self, items: Sequence[Item]) -> list[Any]:
        """Run `items` as they arrive, those of step 0 at once, and again for those that came after an end."""
        forward = items[0].forward
        assert isinstance(forward, Continuous)
        while self._arrivals or self._waiting:
            if not self._waiting:
                self._waiting += self._arrivals.pop(min(self._arrivals))
            self._enter(1)
            forward.run([self._waiting.pop(0)], self)
        return [self.outputs[id(item)] for item in items]

    def _enter(self, count: int) -> None:
        self._inside += count
        self.most_inside = max(self.most_inside, self._inside)


def arriving(items: Sequence[Item], *steps: int) -> list[Any]:
    """Outputs of `items`, of which each arrives before its step."""
    plan: dict[int, list[Item]] = {}
    for item, step in zip(items, steps, strict=True):
        plan.setdefault(step, []).append(item)
    return Arrivals(plan).run(items)
