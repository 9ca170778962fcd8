"""Keys and values of the answers that are being written: one preallocated block per layer, to which rows come and go.

Every row ends in the same column, so a step writes one column and hands the model a view; nothing is copied. What lies
before a short row's first token is padding, which the mask hides. transformers' DynamicCache would copy every key and
value at each step, and could neither take a row in nor let one go without copying all others.

    row 0   · · · · a b c d e f |          start: the longest row's first column
    row 1   · · x y z u v w t s |          end: where the next token's keys go
            start             end
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_COLUMNS = 64  # blocks grow by at least so many columns


class _Span:
    """The part of the blocks that the model sees now."""

    def __init__(self) -> None:
        self.rows = slice(0, 0)
        self.start = 0
        self.end = 0


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call] # transformers' base registers its subclasses
    """One layer's block, [rows, heads, columns, width]."""

    def __init__(self, span: _Span, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._span = span
        self.dtype, self.device = keys.dtype, keys.device
        self.all_keys, self.all_values = keys, values
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        span = self._span
        end = span.end + key_states.shape[-2]
        self.all_keys[span.rows, :, span.end : end] = key_states
        self.all_values[span.rows, :, span.end : end] = value_states
        self.keys = self.all_keys[span.rows, :, span.start : end]
        self.values = self.all_values[span.rows, :, span.start : end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._span.end - self._span.start


class RowCache(Cache):
    """A cache for transformers' models. The caller keeps its rows in the same order: `join` adds at the end, `leave`
    puts the last row in the place of the one that leaves."""

    def __init__(self, device: torch.device) -> None:
        self._blocks: list[_Layer] = []
        super().__init__(layers=[])
        self._device = device
        self._span = _Span()
        self._lengths: list[int] = []
        self._shifts: list[int] = []
        self._mask = torch.zeros((0, 0), dtype=torch.long, device=device)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._lengths)

    def inputs(self, row: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(attention_mask [rows, columns], position_ids [rows, 1]) of the next token of all rows, or of one alone."""
        rows = slice(0, self.count) if row is None else slice(row, row + 1)
        self._span.rows = rows
        self._span.start = self._span.end - max(self._lengths[rows])
        positions = [length + shift for length, shift in zip(self._lengths[rows], self._shifts[rows], strict=True)]
        return self._mask[rows, self._span.start : self._span.end + 1], torch.tensor(positions, device=self._device)[
            :, None
        ]

    def advance(self) -> None:
        """What the model has written for every row's next token is there to stay. Until then it can run again."""
        self._lengths = [length + 1 for length in self._lengths]
        self._span.end += 1
        if self._span.end == self._mask.shape[1]:
            self._grow(self.count, 0)

    def join(
        self,
        prefilled: Sequence[tuple[torch.Tensor, torch.Tensor]],
        rows: Sequence[int],
        lengths: Sequence[int],
        shifts: Sequence[int],
    ) -> None:
        """Take in some `rows` of keys and values [rows, heads, columns, width] per layer: their last `lengths` columns.

        What lies before those comes with them, as padding. `shifts`: added to a token's number for its position.
        """
        if not self._blocks:
            self._blocks = [_Layer(self._span, keys[:0], values[:0]) for keys, values in prefilled]
            self.layers = list(self._blocks)
        begin, longest = self.count, max(lengths)
        places = slice(begin, begin + len(rows))
        full = places.stop > self._mask.shape[0] or self._span.end + 1 > self._mask.shape[1]
        if full or longest > self._span.end:
            self._grow(places.stop, longest)
        end = self._span.end
        every = len(rows) == prefilled[0][0].shape[0]
        for layer, both in zip(self._blocks, prefilled, strict=True):
            for block, new in zip((layer.all_keys, layer.all_values), both, strict=True):
                last = new[:, :, new.shape[2] - longest :]
                block[places, :, end - longest : end] = last if every else last[list(rows)]
        for place, length in enumerate(lengths, start=begin):
            self._mask[place, : end - length] = 0
            self._mask[place, end - length :] = 1
        self._lengths.extend(lengths)
        self._shifts.extend(shifts)

    def leave(self, row: int, *, tainted: bool = False) -> None:
        """Forget a row; the last one takes its place. `tainted`: it may hold what is no number. Whoever comes next has
        it as padding, and even there 0 · NaN is NaN."""
        last = self.count - 1
        if tainted:
            for layer in self._blocks:
                layer.all_keys[row], layer.all_values[row] = 0, 0
        if row != last:
            columns = slice(self._span.end - max(self._lengths), self._span.end)
            for layer in self._blocks:
                for block in (layer.all_keys, layer.all_values):
                    block[row, :, columns] = block[last, :, columns]
            self._mask[row] = self._mask[last]
            self._lengths[row], self._shifts[row] = self._lengths[last], self._shifts[last]
        self._lengths.pop()
        self._shifts.pop()

    def held(self, row: int) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], int, int]:
        """(Keys and values of all rows per layer, the row's first column in them, how many tokens it has)."""
        length = self._lengths[row]
        return [(layer.all_keys, layer.all_values) for layer in self._blocks], self._span.end - length, length

    def _grow(self, rows: int, columns: int) -> None:
        """Room for so many rows and a prompt of so many columns, and some to come. Rows stay where they are."""
        live = max(self._lengths, default=0)
        end = max(columns, live)
        before, height = self._span.end, max(self._mask.shape[0], 1)
        while height < rows:
            height *= 2
        width = -(-(end + max(_COLUMNS, end // 4)) // _COLUMNS) * _COLUMNS
        count = self.count
        for layer in self._blocks:
            for name in ("all_keys", "all_values"):
                old = getattr(layer, name)
                new = old.new_zeros((height, old.shape[1], width, old.shape[3]))
                new[:count, :, end - live : end] = old[:count, :, before - live : before]
                setattr(layer, name, new)
        mask = self._mask.new_ones((height, width))
        for row, length in enumerate(self._lengths):
            mask[row, : end - length] = 0
        self._mask, self._span.end = mask, end
