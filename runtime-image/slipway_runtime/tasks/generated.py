"""What the tasks that write text answer with, in terms of no wire format. Dialects render it.

`postprocess` of such a task gives one list per input with `n` Generated each; while it runs, Tokens are emitted, for
the item number input × n + answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True)
class Token:
    """One token of the answer, or of the prompt."""

    id: int
    text: str
    """What it adds to the text; empty while it is part of a character, or of what may become a stop string."""
    logprob: float
    special: bool = False
    top: tuple[Token, ...] = ()
    """The likeliest tokens at its place, where asked for."""
    last: bool = False
    """The answer ends with it: TGI's streams carry the whole text in the last token's event."""
    piece: str = ""
    """How it reads by itself, special tokens and what is held back too."""


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the tools that a chat offered."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Generated:
    """One whole answer."""

    text: str
    """Without the prompt, without the stop string."""
    finish_reason: FinishReason
    tokens: tuple[Token, ...]
    prompt_tokens: int
    cached_tokens: int | None = None
    """Of the prompt, those that were not read, as an earlier one began so. None: prefixes are not reused."""
    prompt: str = ""
    prefill: tuple[Token, ...] = ()
    """The prompt's tokens with their logprobs, where asked for; the first has none: NaN, which JSON writes as null."""
    seed: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
