"""How far a model's outputs are from those that it gave before it was changed: int8, torch.compile.

By a small, ordinary request of its task, and by what the network itself gives, before labels or tokens are made of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from slipway_runtime.tasks.adapter import Item, Loaded

_FEW = 64  # numbers: logits of some labels, a score. Near to 0 is no less than another place


def outputs(
    loaded: Loaded, items: list[Item] | None = None, *, parts: bool = True, calls: int = 1
) -> dict[str, torch.Tensor]:
    """What the model gives at its first calls, and with `parts` each of its direct parts too. In the inference thread.

    `items`: else those of the task's warm-up. Raises what their forward raises.
    """
    found: dict[str, torch.Tensor] = {}

    def keeping(name: str) -> Callable[..., None]:
        call = itertools.count(1)

        def keep(_module: Any, _given: Any, output: Any) -> None:
            number = next(call)
            for place, tensor in enumerate(_tensors(output) if number <= calls else ()):
                found[f"{name} {number} {place}"] = tensor.detach().float().clone()

        return keep

    watched = {"": loaded.model, **(dict(loaded.model.named_children()) if parts else {})}
    hooks = [module.register_forward_hook(keeping(name)) for name, module in watched.items()]
    try:
        items = items or loaded.adapters[loaded.task].warmup()
        for output in items[0].forward(items):
            if isinstance(output, Exception):
                raise output
    finally:
        for hook in hooks:
            hook.remove()
    return found


def apart(now: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> float:
    """The largest distance, as a share of the length of what was before, or of its numbers' usual size where that is
    more; infinite where they cannot be compared."""
    return max((_distance(now.get(name), tensor) for name, tensor in before.items()), default=math.inf)


def _distance(now: torch.Tensor | None, before: torch.Tensor) -> float:
    if now is None or now.shape != before.shape:
        return math.inf
    numbers = before.isfinite()  # masks are of infinities
    exact, moved = before[numbers], (now - before)[numbers]
    if not moved.isfinite().all():
        return math.inf
    length, far = float(exact.norm()), float(moved.norm())
    if before.dim() and before.shape[-1] < _FEW:
        return far / max(length, math.sqrt(before.numel()))
    # Some models have a few numbers a thousand times as large as the others, which would then not count.
    usual = float(exact.abs().median()) if len(exact) else 0.0
    by_most = float(moved.abs().median()) / usual if usual else 0.0
    return max(far / length if length else far, by_most)


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    """Those of numbers with fractions, in their order."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)
