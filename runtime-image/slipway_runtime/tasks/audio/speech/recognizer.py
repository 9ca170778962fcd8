"""What each kind of speech recognition model does, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.audio.recordings import Recording
from slipway_runtime.tasks.audio.speech.options import Options
from slipway_runtime.tasks.transcript import Transcript


@dataclass(frozen=True)
class Piece:
    """A recording or a window of it, ready for the forward."""

    recording: int
    """Its place in the request."""
    seconds: float
    """Of the whole recording."""
    features: Any
    """Of the extractor, a tensor without the dimension of the batch."""
    window: Window | None = None
    frames: int = 0
    """How many of the features are of the recording, where the extractor has padded."""


@dataclass(frozen=True)
class Heard:
    """What a recognizer's forward gives for a piece."""

    piece: Piece
    output: Any


class Recognizer(Protocol):
    """A model with its feature extractor and tokenizer."""

    rate: int
    """Samples per second that it hears."""

    def check(self, options: Options) -> Options:
        """What is asked in this model's terms. Raises InvalidInput for what it cannot do."""

    def items(self, recording: Recording, number: int, options: Options, field: str) -> list[Item]:
        """One recording, or its windows: items whose data are Pieces with this number. Raises InvalidInput."""

    def transcript(self, heard: Sequence[Heard], options: Options) -> Transcript:
        """From the outputs of those items, in order."""


def refuse(options: Options, why: str, *names: str) -> None:
    """Raise InvalidInput if one of `names` is asked for: fields of Options, or arguments of generate."""
    for name in names:
        if getattr(options, name, None) or name in dict(options.generate):
            raise InvalidInput(f"parameters.{_WIRE.get(name, name)}", why)


# What fields of Options are called in a request.
_WIRE = {"chunk": "chunk_length_s", "stride": "stride_length_s", "timestamps": "return_timestamps"}


@dataclass(frozen=True)
class Window:
    """A part of a recording, in samples, and how much of it at either side is only there to be heard."""

    start: int
    end: int
    left: int
    right: int


def windows(length: int, chunk: int, left: int, right: int) -> Iterable[Window]:
    """As transformers' pipeline cuts: the middles of the windows make up the whole."""
    for start in range(0, length, chunk - left - right):
        end = min(start + chunk, length)
        inner = 0 if start == 0 else left
        if end - start > inner:
            yield Window(start, end, inner, 0 if end == length else right)
        if end == length:
            return
