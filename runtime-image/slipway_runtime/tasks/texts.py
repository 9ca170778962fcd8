"""Inputs that are texts: structure, tokenization, truncation, padding. Shared by every text task."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits


@dataclass(frozen=True)
class Encoded:
    """One tokenized text (or pair)."""

    ids: list[int]
    types: list[int]


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


def kind_of(value: object) -> str:
    """JSON's word for a value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
             bytes: "binary data"}  # fmt: skip
    return names.get(type(value), "null")


class TextTokenizer:
    """A transformers tokenizer, safe to use from several threads.

    transformers switches truncation and padding on and off inside the shared Rust object for each call, which fails
    with "Already borrowed" when two threads ask for different settings. So the backend is used directly, without
    either; a text that is too long is encoded again by a copy with truncation on. Padding happens in `collate`.
    """

    def __init__(self, tokenizer: Any, limit: int, *, needs_types: bool) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self.needs_types = needs_types
        self._lock = threading.Lock()
        self._truncating: dict[tuple[int, str], Any] = {}
        self._backend = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        field: str,
        truncate: bool,
        side: str = "right",
        limit: int | None = None,
    ) -> Encoded:
        """Tokenize with special tokens. Longer than the limit.

        Cut at `side` if `truncate`, else InvalidInput with both numbers.
        """
        most = min(limit or self.limit, self.limit)
        encoded = self._plain(text, pair)
        if len(encoded.ids) <= most:
            return encoded
        if not truncate:
            raise InvalidInput(
                field,
                f"has {len(encoded.ids)} tokens, the model takes {most}; shorten it"
                + (", or set truncate to true" if side else ""),
            )
        return self._truncated(text, pair, most, side or "right")

    def _plain(self, text: str, pair: str | None) -> Encoded:
        if self._backend is not None:
            return self._from_backend(self._backend.encode(text, pair))
        with self._lock:
            return self._from_python(self.tokenizer(text, pair, truncation=False))

    def _truncated(self, text: str, pair: str | None, most: int, side: str) -> Encoded:
        if self._backend is not None:
            with self._lock:
                backend = self._truncating.get((most, side))
                if backend is None:
                    backend = type(self._backend).from_str(self._backend.to_str())
                    backend.enable_truncation(most, direction=side)
                    self._truncating[most, side] = backend
            return self._from_backend(backend.encode(text, pair))
        with self._lock:
            self.tokenizer.truncation_side = side
            return self._from_python(self.tokenizer(text, pair, truncation=True, max_length=most))

    def _from_backend(self, encoding: Any) -> Encoded:
        return Encoded(encoding.ids, encoding.type_ids if self.needs_types else [])

    def _from_python(self, encoding: Any) -> Encoded:
        return Encoded(list(encoding["input_ids"]), list(encoding["token_type_ids"]) if self.needs_types else [])

    def collate(self, texts: Sequence[Encoded], device: torch.device) -> dict[str, torch.Tensor]:
        """Pad to the longest.

        Input_ids, attention_mask and, where the model has them, token_type_ids, each [batch, tokens].
        """
        longest = max(len(text.ids) for text in texts)
        pad = self.tokenizer.pad_token_id or 0
        left = self.tokenizer.padding_side == "left"
        ids = np.full((len(texts), longest), pad, dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=np.int64)
        types = np.zeros((len(texts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            n = len(text.ids)
            place = slice(longest - n, longest) if left else slice(0, n)
            ids[row, place] = text.ids
            mask[row, place] = 1
            if self.needs_types:
                types[row, place] = text.types
        arrays = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if self.needs_types else {})
        return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
