"""Rows whose prompts are being read, and which of them are read in one forward."""

from __future__ import annotations

from collections.abc import Sequence as Several
from dataclasses import dataclass, field

from transformers import DynamicCache

from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.generation.prefixes import Prefixes
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sequence import Sequence

# A prompt joins a prefill while the tokens that it adds, padding included, cost no more than reading it later.
_WASTE = 1.25
_FORWARD_TOKENS = 32


@dataclass(eq=False)
class Row:
    """One answer from its prompt on."""

    item: Item
    sequence: Sequence
    read: int = 0
    """Tokens of the prompt that are in `cache`."""
    cache: DynamicCache | None = None
    chain: list[bytes] = field(default_factory=list)
    """Of its prompt: see prefixes.py. Empty: it shares nothing."""
    found: int = 0
    """Tokens of the prompt, before the last, that need not be read."""
    shift: int = 0
    """See Decoder.shift."""

    @property
    def prompt(self) -> Prompt:
        prompt: Prompt = self.item.data
        return prompt

    @property
    def left(self) -> int:
        """Tokens of the prompt that are to be read."""
        return len(self.prompt.ids) - max(self.read, self.found)

    def readable_with_others(self, most: int) -> bool:
        """Whether its prompt may be read together with others', `most` tokens at a time."""
        return not self.read and not self.prompt.extra and self.left <= most


def together(rows: Several[Row], most: int, prefixes: Prefixes | None) -> list[Row]:
    """Prompts to read in one forward: the first, and those nearest to it in what is left to read. `most`: tokens,
    padding included.

    A prompt that is too long for that, or comes with an image, is read alone; one that begins as another of the group
    does comes later, where that spares more than a forward costs.
    """
    first = rows[0]
    if not first.readable_with_others(most):
        return [first]
    chosen, longest = [first], first.left
    others = (row for row in rows[1:] if row.readable_with_others(most))
    for row in sorted(others, key=lambda row: abs(row.left - first.left)):
        then = max(longest, row.left)
        padded = then * (len(chosen) + 1)
        if padded > most:
            break
        if prefixes is not None and any(_spared(row, other, prefixes) >= _FORWARD_TOKENS for other in chosen):
            continue
        if padded - longest * len(chosen) <= _WASTE * row.left + _FORWARD_TOKENS:
            chosen.append(row)
            longest = then
    return chosen


def _spared(row: Row, other: Row, prefixes: Prefixes) -> int:
    """Tokens of a prompt that need not be read once another has been."""
    return min(prefixes.common(row.chain, other.chain), row.item.length - 1) - row.found
