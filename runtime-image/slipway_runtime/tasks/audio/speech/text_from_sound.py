"""Other models that write text from sound: Speech2Text, Moonshine. They know no timestamps and no windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item, Limits
from slipway_runtime.tasks.audio.hearing import Hearing
from slipway_runtime.tasks.audio.recordings import Recording
from slipway_runtime.tasks.audio.speech.options import Options
from slipway_runtime.tasks.audio.speech.recognizer import Heard, Piece, refuse
from slipway_runtime.tasks.loading import Network
from slipway_runtime.tasks.transcript import Transcript

LONGEST = 60.0
"""Seconds: what such models were trained on is shorter, and memory grows by the square."""
_FRAMES_PER_SECOND = 50  # of most encoders; for the budget


@dataclass(frozen=True)
class TextForward:
    """Recordings with equal options run together."""

    model: TextFromSound
    options: Options

    def __call__(self, items: Sequence[Item]) -> list[Heard]:
        return self.model.generate([item.data for item in items], self.options)


class TextFromSound:
    """A Recognizer."""

    def __init__(self, network: Network, extractor: Any, tokenizer: Any, limits: Limits) -> None:
        self.rate: int = extractor.sampling_rate
        self._hearing = Hearing(network, extractor)
        self._network = network
        self._tokenizer = tokenizer
        self._limits = limits

    def check(self, options: Options) -> Options:
        refuse(
            options,
            "this model writes down what it hears, and takes no such parameter",
            "language",
            "prompt",
            "chunk",
            "stride",
            "condition_on_prev_tokens",
            "compression_ratio_threshold",
        )
        refuse(options, "this model has no timestamps", "timestamps")
        if options.task == "translate":
            raise InvalidInput("parameters.task", "must be transcribe: this model does not translate")
        for name in ("max_new_tokens", "max_length"):
            asked, most = dict(options.generate).get(name, 0), self._limits.max_new_tokens
            if asked > most:
                raise InvalidInput(
                    f"parameters.generation_parameters.{name}", f"is {asked}, at most {most} are allowed"
                )
        return options

    def items(self, recording: Recording, number: int, options: Options, field: str) -> list[Item]:
        if recording.seconds > LONGEST:
            raise InvalidInput(
                field, f"has {recording.seconds:.1f} s of sound, this model takes {LONGEST:g} s; send it in parts"
            )
        piece = Piece(number, recording.seconds, self._hearing.features(recording.samples))
        length = max(1, round(recording.seconds * _FRAMES_PER_SECOND))
        return [Item(TextForward(self, options), length, piece)]

    def generate(self, pieces: Sequence[Piece], options: Options) -> list[Heard]:
        """Those of equal length together: Moonshine's norm is over time, padding included."""
        heard: list[Heard | None] = [None] * len(pieces)
        arguments = dict(options.generate)
        if "temperature" in arguments:
            arguments.setdefault("do_sample", arguments["temperature"] > 0)
            if not arguments["temperature"]:
                del arguments["temperature"]
        with torch.inference_mode():
            for rows in self._hearing.equal_lengths([piece.features for piece in pieces]):
                batch = torch.stack([pieces[row].features for row in rows])
                inputs = {self._hearing.name: batch.to(self._network.device, self._network.model.dtype)}
                for row, tokens in zip(rows, self._network.model.generate(**inputs, **arguments), strict=True):
                    heard[row] = Heard(pieces[row], tokens.tolist())
        return [one for one in heard if one is not None]

    def transcript(self, heard: Sequence[Heard], options: Options) -> Transcript:  # noqa: ARG002 - as Recognizer has it
        [one] = heard
        text = self._tokenizer.decode(one.output, skip_special_tokens=True)
        return Transcript(text=text, duration=one.piece.seconds)
