"""What one answer is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from slipway_runtime.tasks.generated import ToolCall
from slipway_runtime.tasks.generation.sampling import GREEDY, Sampling


class CallReader(Protocol):
    """Finds calls of tools in an answer."""

    def releasable(self, text: str) -> int:
        """How many characters of an unfinished answer are certain to be no call."""

    def read(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """A whole answer → its text without the calls, and the calls."""


@dataclass(frozen=True)
class Prompt:
    """One answer's beginning and settings."""

    ids: Sequence[int]
    text: str = ""
    """Shown before the answer where the caller wants the full text."""
    max_new_tokens: int = 100
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    top_n_tokens: int = 0
    """The likeliest tokens to report at each place."""
    prefill: bool = False
    """Whether the prompt's own tokens are reported, with their logprobs."""
    calls: CallReader | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the model needs beside ids to read it, as tensors with a batch of one: pixel_values. It is read alone."""
