"""Texts and chats → their tokens, for callers who count before they ask. No task of a model, so no adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slipway_runtime.errors import InvalidInput, NotFound
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.generation.chat import checked_chat, render
from slipway_runtime.tasks.texts import TextTokenizer

MAX_PIECES = 131_072  # each becomes an object; 50 MB in all


@dataclass(frozen=True)
class Piece:
    """One token; `text` is that between `start` and `stop`, characters of the input. Special tokens have none."""

    id: int
    text: str
    start: int
    stop: int


def pieces(loaded: Loaded, text: str, *, special_tokens: bool = True) -> list[Piece]:
    """However many; NotFound where the model reads no text."""
    tokenizer = _tokenizer(loaded)
    ids = tokenizer.ids(text, special_tokens=special_tokens, most=MAX_PIECES)
    if len(ids) > MAX_PIECES:
        raise InvalidInput("inputs", f"has {len(ids)} tokens, at most {MAX_PIECES} are listed; send it in parts")
    places = tokenizer.places(text, special_tokens=special_tokens)
    if len(places) != len(ids):  # a tokenizer without a Rust backend knows none
        return [Piece(token, "", 0, 0) for token in ids]
    return [Piece(token, text[start:stop], start, stop) for token, (start, stop) in zip(ids, places, strict=True)]


def text_of(loaded: Loaded, ids: Sequence[int], field: str) -> str:
    """The text that is tokenized to these ids, with the special tokens that the tokenizer would not add by itself.

    Half characters, which no text gives, become U+FFFD. Raises InvalidInput for what are no ids.
    """
    reader = _tokenizer(loaded)
    known = len(reader.tokenizer)
    for i, token in enumerate(ids):
        if not 0 <= token < known:
            raise InvalidInput(f"{field}[{i}]", f"{token} is no token id of this model: they go from 0 to {known - 1}")
    texts = [str(reader.tokenizer.decode(list(ids), skip_special_tokens=skip)) for skip in (True, False)]
    return next((text for text in texts if reader.ids(text) == list(ids)), texts[0])


def templated(loaded: Loaded, chat: Any, limits: Limits) -> str:
    """A chat {"messages", "tools", …} in the model's own format. Raises InvalidInput, or NotFound as `pieces`."""
    return render(checked_chat(chat, limits), _tokenizer(loaded).tokenizer)


def _tokenizer(loaded: Loaded) -> TextTokenizer:
    if loaded.tokenizer is None:
        raise NotFound(
            f"this model has no tokenizer of its own for texts; it does {', '.join(loaded.adapters)}", "task"
        )
    tokenizer: TextTokenizer = loaded.tokenizer
    return tokenizer
