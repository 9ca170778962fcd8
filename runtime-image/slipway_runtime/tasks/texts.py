"""Inputs that are texts: structure, tokenization, truncation, padding. Shared by every text task."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.kinds import kind_of as kind_of  # noqa: PLC0414 - for those that import it from here


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenized text (or pair)."""

    ids: list[int]
    types: list[int]


@dataclass(frozen=True)
class Window:
    """A part of a text (or pair) that the model sees at once, and where its tokens come from; one entry per token."""

    encoded: Encoded
    offsets: list[tuple[int, int]]
    """First character and the one after the last, in its own text."""
    words: list[int | None]
    """Number of the word in its own text."""
    sequences: list[int | None]
    """0: the text, 1: its pair, None: neither."""
    special: list[int]
    """1: added by the tokenizer."""


def texts_of(inputs: object, field: str, limits: Limits) -> tuple[list[str], bool]:
    """A string or a list of strings → (texts, was it a single one).

    Raises InvalidInput for anything else or nothing.
    """
    if isinstance(inputs, str):
        return [_text(inputs, field)], True
    if not isinstance(inputs, list):
        raise InvalidInput(field, f"must be a string or a list of strings, got {kind_of(inputs)}")
    return [_text(text, f"{field}[{i}]") for i, text in enumerate(checked_list(inputs, field, limits))], False


def checked_list(inputs: list[Any], field: str, limits: Limits) -> list[Any]:
    """A list that is neither empty nor longer than allowed."""
    if not inputs:
        raise InvalidInput(field, "is empty; give at least one")
    if len(inputs) > limits.max_inputs:
        raise InvalidInput(
            field, f"has {len(inputs)} entries, at most {limits.max_inputs} are allowed; send several requests"
        )
    return inputs


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(field, f"must be a string, got {kind_of(value)}")
    if not value.strip():
        raise InvalidInput(field, "is empty; give a text")
    return value


def too_long(field: str, tokens: int, most: int, mend: str, *, counted: bool = True) -> InvalidInput:
    """`mend`: the parameter that, set to true, has the text cut; empty: none. Not `counted`: it has more."""
    has = f"has {tokens} tokens" if counted else f"has more than {tokens} tokens"
    return InvalidInput(
        field, f"{has}, the model takes {most}; shorten it" + (f", or set {mend} to true" if mend else "")
    )


_PIECE = 65_536
"""Characters. Longer texts are counted in pieces first: while it is tokenized a text takes 400 bytes per token, though
most may be thrown away (measured: 2 MB of one-letter words, 450 MB)."""


Cut = Literal["longest_first", "only_first", "only_second"]
"""Which text of a pair gives way when both together are too long."""


class TextTokenizer:
    """A transformers tokenizer, safe to use from several threads.

    transformers switches truncation and padding on and off inside the shared Rust object for each call, which fails
    with "Already borrowed" when two threads ask for different settings. So the backend is used directly, without
    either; a text that is too long is encoded again by a copy that cuts, one at a time. Padding happens in `collate`.
    It is given batches of one: `encode` alone keeps Python's lock, and a long text would hold up every other request.
    """

    def __init__(self, tokenizer: Any, limit: int, *, needs_types: bool, pad: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.pad = pad if pad is not None else tokenizer.pad_token_id or 0
        self.limit = limit
        self.needs_types = needs_types
        self._lock = threading.Lock()
        self._cutting: Any = None
        self._backend = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()

    @property
    def has_offsets(self) -> bool:
        """Whether it knows where in the text each token stands: those with a Rust backend do."""
        return self._backend is not None

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        field: str,
        truncate: bool,
        side: str = "right",
        limit: int | None = None,
        cut: Cut = "longest_first",
    ) -> Encoded:
        """Tokenize with special tokens. Longer than the limit.

        Cut at `side` if `truncate`, else InvalidInput with both numbers.
        """
        most = min(limit or self.limit, self.limit)
        if pair is None:
            text, whole = self._enough(text, most, side, 2 * _piece(most) if truncate else _PIECE)
        else:
            text, pair, whole = self._enough_of_both(text, pair, most, side, truncate=truncate)
        encoded = self._encoded(self._plain(text, pair))
        if len(encoded.ids) <= most:
            return encoded
        if not truncate:
            raise too_long(field, len(encoded.ids), most, "truncate" if side else "", counted=whole)
        return self._encoded(self._cut(text, pair, most, overlap=0, side=side or "right", cut=cut))

    def windows(
        self,
        text: str,
        pair: str | None = None,
        *,
        field: str,
        most: int,
        overlap: int = 0,
        side: str = "right",
        cut: Cut = "longest_first",
        at_most: int = 0,
    ) -> list[Window]:
        """The text in windows of at most `most` tokens, special ones included; neighbours share `overlap` tokens.

        Where `has_offsets`. The caller sees to it that what is not cut leaves more room than `overlap`. InvalidInput
        where it takes more windows than `at_most` (0: any number).
        """
        bound = most * max(at_most, 1)
        text, whole = self._enough(text, bound, side)
        if pair is not None:
            pair, whole_pair = self._enough(pair, bound, side)
            whole = whole and whole_pair
        if at_most and not whole:
            raise InvalidInput(
                field, f"takes more than {at_most} windows of {most} tokens, the most allowed; send less at once"
            )
        encoding = self._plain(text, pair, places=True)
        if len(encoding.ids) > most:
            parted = encoding.sequence_ids.count(1 if cut == "only_second" else 0)
            room = most - (len(encoding.ids) - parted)
            count = -(-(parted - overlap) // (room - overlap))
            if 0 < at_most < count:  # before they are made: many that overlap much take much memory
                raise InvalidInput(
                    field,
                    f"takes {count} windows of {most} tokens, at most {at_most} are allowed; send less at once, or let "
                    "windows share less",
                )
            encoding = self._cut(text, pair, most, overlap=overlap, side=side, cut=cut, places=True)
        return [
            Window(self._encoded(part), part.offsets, part.word_ids, part.sequence_ids, part.special_tokens_mask)
            for part in (encoding, *encoding.overflowing)
        ]

    def special_tokens(self, *, pair: bool) -> int:
        """How many tokens are added to a text or a pair."""
        return int(self.tokenizer.num_special_tokens_to_add(pair))

    def count(self, text: str) -> int:
        """Tokens without the special ones; of a text that is far too long, only more than the model takes."""
        text, _ = self._enough(text, self.limit, "right")
        return len(self._encoded(self._plain(text, None)).ids) - self.special_tokens(pair=False)

    def ids(self, text: str, *, special_tokens: bool = True, most: int | None = None) -> list[int]:
        """All tokens of a text. Without special tokens where the text brings its own.

        Of a text that has far more than `most` only the last ones, more than `most`.
        """
        if most is not None:
            text, _ = self._enough(text, most, "left")
        return self._encoded(self._plain(text, None, special_tokens=special_tokens)).ids

    def places(self, text: str, *, special_tokens: bool = True) -> list[tuple[int, int]]:
        """Where in the text each of `ids` stands, in characters; empty unless `has_offsets`."""
        if self._backend is None:
            return []
        return list(self._plain(text, None, special_tokens=special_tokens, places=True).offsets)

    def _enough_of_both(self, text: str, pair: str, tokens: int, side: str, *, truncate: bool) -> tuple[str, str, bool]:
        """The same of a pair. To be cut, also of what is shorter: tokenizers keeps every part of the one that it cuts
        off with every part of the other. The longer stays the longer, which gets the odd token."""
        least = 2 * _piece(tokens) if truncate else _PIECE
        first, whole = self._enough(text, tokens, side, least)
        second, whole_pair = self._enough(pair, tokens, side, least)
        if truncate and not whole and not whole_pair:
            if self._tokens(text) > self._tokens(pair):
                first, _ = self._enough(text, 16 * tokens, side, least)
            else:
                second, _ = self._enough(pair, 16 * tokens, side, least)
        return first, second, whole and whole_pair

    def _tokens(self, text: str) -> int:
        """How many there are, but for some that a cut splits or joins."""
        pieces = (text[begin : begin + _PIECE] for begin in range(0, len(text), _PIECE))
        return sum(len(self._encoded(self._plain(piece, None, special_tokens=False)).ids) for piece in pieces)

    def _enough(self, text: str, tokens: int, side: str, least: int = _PIECE) -> tuple[str, bool]:
        """(A part of the text that holds more than `tokens` tokens, False), or (all of it, True), as always up to
        `least` characters. `side`: which end goes."""
        if len(text) <= least:
            return text, True
        left, count, size = side == "left", 0, _piece(tokens)
        for number, begin in enumerate(range(0, len(text), size), start=1):
            end = begin + size
            piece = text[-end : len(text) - begin] if left else text[begin:end]
            count += len(self._encoded(self._plain(piece, None, special_tokens=False)).ids)
            if count > tokens + 64 + 8 * number and end < len(text):  # a cut may split tokens, or join them
                return (text[-end:] if left else text[:end]), False
        return text, True

    def _plain(self, text: str, pair: str | None, *, special_tokens: bool = True, places: bool = False) -> Any:
        if self._backend is not None:
            return _encoding(self._backend, text, pair, special_tokens=special_tokens, places=places)
        with self._lock:
            return self.tokenizer(text, pair, truncation=False, add_special_tokens=special_tokens)

    def _cut(
        self, text: str, pair: str | None, most: int, *, overlap: int, side: str, cut: Cut, places: bool = False
    ) -> Any:
        with self._lock:
            if self._backend is None:
                self.tokenizer.truncation_side = side
                return self.tokenizer(text, pair, truncation=cut, max_length=most)
            if self._cutting is None:
                self._cutting = type(self._backend).from_str(self._backend.to_str())
            self._cutting.enable_truncation(most, stride=overlap, strategy=cut, direction=side)
            return _encoding(self._cutting, text, pair, places=places)

    def _encoded(self, encoding: Any) -> Encoded:
        if self._backend is not None:
            return Encoded(encoding.ids, encoding.type_ids if self.needs_types else [])
        return Encoded(list(encoding["input_ids"]), list(encoding["token_type_ids"]) if self.needs_types else [])

    def collate(self, texts: Sequence[Encoded], device: torch.device) -> dict[str, torch.Tensor]:
        """Pad to the longest.

        Input_ids, attention_mask and, where the model has them, token_type_ids, each [batch, tokens].
        """
        lengths = np.array([len(text.ids) for text in texts])
        longest = int(lengths.max())
        left = self.tokenizer.padding_side == "left"
        places = np.arange(longest)
        mask = places >= longest - lengths[:, None] if left else places < lengths[:, None]
        arrays = {"input_ids": _padded([text.ids for text in texts], longest, self.pad, left=left)}
        arrays["attention_mask"] = mask.astype(np.int64)
        if self.needs_types:
            arrays["token_type_ids"] = _padded([text.types for text in texts], longest, 0, left=left)
        return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}


def _piece(tokens: int) -> int:
    """Characters of which a few pieces usually hold so many tokens."""
    return min(_PIECE, max(1024, 8 * tokens))


def _padded(rows: Sequence[list[int]], longest: int, pad: int, *, left: bool) -> Any:
    """[rows, longest], made at once: row by row takes three times as long."""
    filler = [pad] * longest
    if left:
        return np.array([filler[len(row) :] + row for row in rows], dtype=np.int64)
    return np.array([row + filler[len(row) :] for row in rows], dtype=np.int64)


def _encoding(backend: Any, text: str, pair: str | None, *, special_tokens: bool = True, places: bool = False) -> Any:
    """One tokenizers.Encoding; `places`: with where its tokens stand in the text, four times the work for long ones."""
    encode = backend.encode_batch if places else backend.encode_batch_fast
    return encode([text if pair is None else (text, pair)], add_special_tokens=special_tokens)[0]
