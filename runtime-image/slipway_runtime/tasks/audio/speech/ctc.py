"""CTC models (Wav2Vec2, HuBERT and their like): the likeliest letter for each 20 ms, repeats and blanks taken out.

A recording longer than half a minute is heard in windows that overlap, as transformers' pipeline does it with
chunk_length_s: attention over all of it would take memory by the square of its length.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.audio.hearing import Hearing
from slipway_runtime.tasks.audio.recordings import Recording
from slipway_runtime.tasks.audio.speech.options import Options
from slipway_runtime.tasks.audio.speech.recognizer import Heard, Piece, Window, refuse, windows
from slipway_runtime.tasks.loading import Network
from slipway_runtime.tasks.transcript import Transcript, Word

_WINDOW = 30.0  # seconds
_STRIDES = 6  # a window's sixth at each side is only there to be heard: the pipeline's share


@dataclass(frozen=True)
class CtcForward:
    """Options play no part in the forward, so all requests share batches."""

    ctc: Ctc

    def __call__(self, items: Sequence[Item]) -> list[Heard]:
        return self.ctc.hear([item.data for item in items])


class Ctc:
    """A Recognizer."""

    def __init__(self, network: Network, extractor: Any, tokenizer: Any) -> None:
        self.rate: int = extractor.sampling_rate
        self._hearing = Hearing(network, extractor)
        self._tokenizer = tokenizer
        # Samples per frame of logits. LASR's is in frames of its extractor.
        self._ratio: int = getattr(network.config, "inputs_to_logits_ratio", 320)
        if "lasr" in network.config.model_type:
            self._ratio *= extractor.hop_length
        self._timed = hasattr(tokenizer, "_get_word_offsets")
        self._forward = CtcForward(self)

    def check(self, options: Options) -> Options:
        why = "this model writes down what it hears, and takes no such parameter"
        names = [name for name, value in options.generate if (name, value) != ("temperature", 0.0)]
        refuse(options, why, "language", "prompt", *names)
        if options.task == "translate":
            raise InvalidInput("parameters.task", "must be transcribe: this model does not translate")
        if options.timestamps == "segment":
            raise InvalidInput("parameters.return_timestamps", "must be word or char: this model knows no phrases")
        if options.timestamps and not self._timed:
            raise InvalidInput("parameters.return_timestamps", "this model's tokenizer has none")
        return options

    def items(self, recording: Recording, number: int, options: Options, field: str) -> list[Item]:
        samples = recording.samples
        items = []
        for window in self._windows(len(samples), recording.seconds, options):
            features = self._hearing.features(samples[window.start : window.end])
            piece = Piece(number, recording.seconds, features, window)
            items.append(Item(self._forward, max(1, (window.end - window.start) // self._ratio), piece))
        if not items:
            raise InvalidInput(field, "is too short for these windows")
        return items

    def hear(self, pieces: Sequence[Piece]) -> list[Heard]:
        """The likeliest token of each frame."""
        logits = self._hearing.outputs([piece.features for piece in pieces], lambda output: output.logits.argmax(-1))
        return [Heard(piece, one.tolist()) for piece, one in zip(pieces, logits, strict=True)]

    def transcript(self, heard: Sequence[Heard], options: Options) -> Transcript:
        tokens = list(itertools.chain.from_iterable(self._middle(one) for one in heard))
        words: tuple[Word, ...] = ()
        text = self._tokenizer.decode(tokens)
        if options.timestamps:
            offsets = self._tokenizer.decode(tokens, output_char_offsets=True)["char_offsets"]
            if options.timestamps == "word":
                offsets = self._tokenizer._get_word_offsets(offsets, self._tokenizer.replace_word_delimiter_char)
            words = tuple(
                Word(one[options.timestamps], self._time(one["start_offset"]), self._time(one["end_offset"]))
                for one in offsets
            )
        return Transcript(text=text, duration=heard[0].piece.seconds, granularity=options.timestamps, words=words)

    def _windows(self, length: int, seconds: float, options: Options) -> list[Window]:
        chunk = options.chunk or (_WINDOW if seconds > _WINDOW else 0.0)
        if not chunk:
            return [Window(0, length, 0, 0)]
        left, right = options.stride or (chunk / _STRIDES, chunk / _STRIDES)
        sizes = [self._aligned(value) for value in (chunk, left, right)]
        if sizes[0] <= sizes[1] + sizes[2]:
            raise InvalidInput("parameters.chunk_length_s", f"is {chunk:g} s, too short for windows of this model")
        return list(windows(length, *sizes))

    def _aligned(self, seconds: float) -> int:
        """Samples, a multiple of a frame's."""
        return round(seconds * self.rate / self._ratio) * self._ratio

    def _middle(self, heard: Heard) -> list[int]:
        """Without what overlaps, in frames rounded as transformers' pipeline rounds."""
        window = heard.piece.window
        tokens: list[int] = heard.output
        if window is None or not (window.left or window.right):
            return tokens
        length = window.end - window.start
        frames = round(length / self._ratio)
        left, right = (round(side / length * frames) for side in (window.left, window.right))
        return tokens[left : frames - right]

    def _time(self, frame: int) -> float:
        return frame * self._ratio / self.rate
