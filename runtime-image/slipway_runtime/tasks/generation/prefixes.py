"""Keys and values of prompts and answers that were read before, for prompts that begin the same.

    tokens    t0 … t15 | t16 … t31 | t32 … t47 | …
    digests   d0 = H(root, t0 … t15), d1 = H(d0, t16 … t31), …
    root      of the forward, so of the LoRA adapter, and of the caller

A block is found by its digest, which stands for all that comes before it, so nothing else has to be compared. Blocks of
a prompt or an answer that were not there yet are kept as one segment, a copy per layer. Segments are forgotten whole,
the one out of use for longest first; one that others go on from counts as used after them, so that it outlasts them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile
from typing import NamedTuple

import torch

from slipway_runtime.tasks.adapter import Forward, Item

BLOCK = 16
_DIGEST_BYTES = 16

KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(eq=False)
class _Segment:
    """Consecutive blocks."""

    digests: list[bytes]
    layers: list[KeysValues]
    """[heads, tokens, width] each."""


class Part(NamedTuple):
    """The first tokens of a segment. Who goes on from one goes on from its beginning."""

    layers: list[KeysValues]
    tokens: int


class Prefixes:
    """In the inference thread alone. All counts are of tokens, all chains made by `chain`."""

    def __init__(self, most: int, block: int = BLOCK) -> None:
        """`most`: to keep at any time; 0: none. `block`: what is shared is a multiple of that."""
        self.most = most
        self.block = block
        self.size = 0
        """Tokens that are kept now."""
        self._room = most
        self._forwards: dict[Forward, int] = {}
        self._blocks: dict[bytes, _Segment] = {}
        self._segments: dict[_Segment, None] = {}  # that out of use for longest first

    def chain(self, item: Item, ids: Several[int], before: Several[bytes] = ()) -> list[bytes]:
        """Digests of the whole blocks of `ids`. `before`: of those that are known already."""
        digests, ids = list(before), array("q", ids)
        last = digests[-1] if digests else self._root(item)
        for end in range((len(digests) + 1) * self.block, len(ids) + 1, self.block):
            last = blake2b(last + ids[end - self.block : end].tobytes(), digest_size=_DIGEST_BYTES).digest()
            digests.append(last)
        return digests

    def found(self, chain: Several[bytes], most: int) -> int:
        """How many tokens are there of the beginning, at most `most`."""
        count = 0
        for digest in chain[: most // self.block]:
            if digest not in self._blocks:
                break
            count += 1
        return count * self.block

    def common(self, chain: Several[bytes], other: Several[bytes]) -> int:
        """How many tokens of the one would be found once the other has been read."""
        same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(chain, other, strict=False)))
        return min(same * self.block, self._room)

    def parts(self, chain: Several[bytes], tokens: int) -> list[Part]:
        """Where the first `tokens`, all found, are. Counts as use."""
        runs: dict[_Segment, int] = {}
        for digest in chain[: -(-tokens // self.block)]:
            segment = self._blocks[digest]
            runs[segment] = runs.get(segment, 0) + self.block
        for segment in reversed(runs):
            self._segments[segment] = self._segments.pop(segment)
        made = []
        for segment, size in runs.items():
            made.append(Part(segment.layers, min(size, tokens)))
            tokens -= size
        return made

    def keep(self, chain: Several[bytes], layers: Several[KeysValues], row: int, start: int) -> None:
        """What is not there yet of a row that was read: [rows, heads, columns, width] per layer, its first token in the
        column `start`."""
        known = self.found(chain, len(chain) * self.block)
        new = list(chain[known // self.block : self._room // self.block])
        size = len(new) * self.block
        if new and self._make_room(size, set(chain[: known // self.block])):
            columns = slice(start + known, start + known + size)
            copies = [(keys[row, :, columns].clone(), values[row, :, columns].clone()) for keys, values in layers]
            segment = _Segment(new, copies)
            self._segments[segment] = None
            self._blocks.update(dict.fromkeys(new, segment))
            self.size += size
            known += size
        self.parts(chain, known)

    def bound(self, room: int | None) -> None:
        """Keep no more than `room` until the next call; None: `most`, which it never is more than."""
        self._room = self.most if room is None else max(0, min(self.most, room))
        while self.size > self._room:
            self._forget(next(iter(self._segments)))

    def _make_room(self, size: int, needed: set[bytes]) -> bool:
        while self.size + size > self._room:
            oldest = next(iter(self._segments))
            if needed.intersection(oldest.digests):
                return False
            self._forget(oldest)
        return True

    def _forget(self, segment: _Segment) -> None:
        del self._segments[segment]
        for digest in segment.digests:
            del self._blocks[digest]
        self.size -= len(segment.digests) * self.block

    def _root(self, item: Item) -> bytes:
        number = self._forwards.setdefault(item.forward, len(self._forwards))
        return blake2b(f"{number} {item.caller}".encode(), digest_size=_DIGEST_BYTES).digest()


def rows_of(parts: Several[Several[Part]]) -> Iterator[KeysValues]:
    """Per layer keys and values [rows, heads, columns, width] of rows of parts, not all empty. All rows end in the last
    column; what lies before shorter ones is zero."""
    like = next(part.layers for row in parts for part in row)
    for layer, (keys, values) in enumerate(like):
        yield (
            _joined(keys, [[(part.layers[layer][0], part.tokens) for part in row] for row in parts]),
            _joined(values, [[(part.layers[layer][1], part.tokens) for part in row] for row in parts]),
        )


def _joined(like: torch.Tensor, rows: Several[Several[tuple[torch.Tensor, int]]]) -> torch.Tensor:
    sizes = [sum(tokens for _, tokens in row) for row in rows]
    made = like.new_zeros((len(rows), like.shape[0], max(sizes), like.shape[2]))
    for place, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        column = max(sizes) - size
        for block, tokens in row:
            made[place, :, column : column + tokens] = block[:, :tokens]
            column += tokens
    return made
