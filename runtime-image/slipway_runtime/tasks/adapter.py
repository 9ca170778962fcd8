"""The one shape that every task has. Knows nothing of HTTP, dialects or queues; importing it does not import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import msgspec


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_inputs: int = 256
    max_input_tokens: int = 0
    """0: the model's own limit."""
    max_new_tokens: int = 4096
    max_prefix_tokens: int = 8192
    """Kept of earlier prompts and answers, for those that begin the same. 0: none."""
    max_image_pixels: int = 40_000_000
    max_audio_seconds: float = 1800.0


class Listener:
    """The caller's side of one item while its forward runs in another thread."""

    def __init__(self, emit: Callable[[Any], None] | None = None) -> None:
        self._emit = emit
        self.gone = False
        """Nobody waits for the output any more: a long forward may stop."""
        self.first_token = 0.0
        """Where text is written: when its first token was made, by time.monotonic."""

    @property
    def wanted(self) -> bool:
        """Whether parts of the output are waited for, before its end."""
        return self._emit is not None

    def emit(self, part: Any) -> None:
        """Hand out a part of the output; from any thread."""
        if self._emit is not None and not self.gone:
            self._emit(part)


@dataclass(frozen=True)
class Item:
    """One unit of a batch: one text, image or recording of a request, ready for the forward."""

    forward: Forward
    length: int
    """Tokens, for sorting and budgets. An image counts one per 16 x 16 pixels of what the model sees, sound one per
    frame of the encoder."""
    data: Any
    """What the forward needs; only the adapter and its forward look inside."""
    listener: Listener = field(default_factory=Listener, compare=False)
    room: int = 0
    """Further tokens that its answer may take beside `length`, where the model writes."""
    caller: str = ""
    """Whose it is: what was computed for one caller spares no other's, which could tell by the time what that was."""


class Forward(Protocol):
    """A batched forward. Items of one batch share the same Forward; outputs are in the order of the items."""

    def __call__(self, items: Sequence[Item]) -> list[Any]: ...


class Feed(Protocol):
    """The queue's side of a continuous batch. Called in the inference thread."""

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:
        """Waiting items of the same forward, in their order, until the first that does not fit.

        None where it is the turn of another forward's item, or of nobody. To be called before every step: it is also
        how one sees that the batch still makes progress.
        """

    def done(self, item: Item, output: Any) -> None:
        """An item's output, or an Exception: once for every item."""


class Continuous(ABC):
    """A Forward whose batch items may join and leave while it runs. To be derived from: a method of the same name does
    not make one."""

    @abstractmethod
    def __call__(self, items: Sequence[Item]) -> list[Any]:
        """As every Forward: one output per item."""

    @abstractmethod
    def run(self, items: Sequence[Item], feed: Feed) -> None:
        """Until no item is left, `items` and what `feed` gave. Raises only where all of them are lost.

        The queue gives one item; those that fit beside it are asked for by `feed.more`, before the first step too.
        """


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

    def field(self, index: int) -> str:
        """How messages name the input at `index`."""
        return "inputs" if self.single else f"inputs[{index}]"


@dataclass(frozen=True)
class Media:
    """An answer that is not JSON: an encoded image or recording."""

    content: bytes
    type: str
    """Media type: audio/wav, image/png."""


class Adapter(ABC):
    """parse → preprocess → forward (in batches) → postprocess."""

    task: ClassVar[str]
    """The task's own name."""
    parameters: ClassVar[type[Parameters]]
    """The closed list of its parameters."""
    takes_media: ClassVar[bool] = False
    """Inputs hold images or sound: bodies may be larger."""
    streams: ClassVar[bool] = False
    """Parts of the answer can be given out before its end."""

    def accepts(self, inputs: object, parameters: Mapping[str, Any]) -> bool:  # noqa: ARG002 - for those that override it
        """Whether a request of this shape, not checked yet, is meant for this task, where a model does several on one
        route."""
        return True

    def quick(self, call: Call) -> bool:  # noqa: ARG002 - for those that override it
        """Whether preprocess and postprocess take less, together, than the way to a thread and back: about 0.1 ms."""
        return False

    @abstractmethod
    def parse(self, inputs: object, parameters: Any) -> Call:
        """Check the structure; cheap, on the event loop. Raises InvalidInput."""

    @abstractmethod
    def preprocess(self, call: Call) -> list[Item]:
        """Tokenize or decode, in a worker thread unless `quick`. Raises InvalidInput."""

    @abstractmethod
    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        """One output per item → what goes into the response: JSON types, numpy arrays, Media, or Generated.

        In a worker thread unless `quick`.
        """

    @abstractmethod
    def warmup(self) -> list[Item]:
        """Items of a small, ordinary request: proves that a forward works."""


class Variants(Protocol):
    """LoRA adapters over one set of weights."""

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may name."""

    def forward(self, name: str, inner: Forward) -> Forward:
        """`inner` with the adapter `name` switched on ("": none). Equal for equal arguments, so that batches form."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory: the adapters that it answers with, the default first."""

    task: str
    adapters: dict[str, Adapter]
    max_input_tokens: int
    device: str
    parameters: int
    dtype: str = "float32"
    compiled: str = ""
    """Where torch.compile was asked for: what became of it (compiled.py)."""
    variants: Variants | None = None
    model: Any = None
    """The network itself, for what works on its weights: LoRA. None where it has no such thing."""
    tokenizer: Any = None
    """TextTokenizer (texts.py) of a model that reads texts."""
