"""The one shape that every task has. Knows nothing of HTTP, dialects or queues; importing it does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_inputs: int = 256
    max_input_tokens: int = 0
    """0: the model's own limit."""


@dataclass(frozen=True)
class Item:
    """One unit of a batch: one text of a request, tokenized."""

    forward: Forward
    length: int
    """Tokens, for sorting and budgets."""
    data: Any
    """What the forward needs; only the adapter and its forward look inside."""


class Forward(Protocol):
    """A batched forward. Items of one batch share the same Forward; outputs are in the order of the items."""

    def __call__(self, items: Sequence[Item]) -> list[Any]: ...


class Parameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of each task's parameters: a closed list of fields with their ranges."""


@dataclass(frozen=True)
class Call:
    """One parsed request of one task."""

    inputs: Any
    """As the adapter's `parse` made it."""
    parameters: Any
    single: bool
    """One input, not a list of them: the answer then has no outer list."""


class Adapter(Protocol):
    """parse → preprocess → forward (in batches) → postprocess."""

    @property
    def task(self) -> str:
        """The task's own name."""

    @property
    def parameters(self) -> type[Parameters]:
        """The closed list of its parameters."""

    def accepts(self, inputs: object) -> bool:
        """Whether inputs of this shape are meant for this task, where a model does several on one route."""

    def parse(self, inputs: object, parameters: Any) -> Call:
        """Check the structure; cheap, on the event loop. Raises InvalidInput."""

    def preprocess(self, call: Call) -> list[Item]:
        """Tokenize, in a worker thread. Raises InvalidInput."""

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        """One output per item → what goes into the response: JSON types and numpy arrays. In a worker thread."""

    def warmup(self) -> list[Item]:
        """Items of a small, ordinary request: proves that a forward works."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory: the adapters that it answers with, the default first."""

    task: str
    adapters: dict[str, Adapter]
    max_input_tokens: int
    device: str
    parameters: int
