"""audio-classification: a recording → [{label, score}, …], best first, five at most unless top_k says otherwise.

A list → one such list each. Whisper and AST hear a window of fixed length; a longer recording is refused unless it may
be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.audio.hearing import TRAINING_ONLY, Hearing
from slipway_runtime.tasks.audio.recordings import recordings_of, sounds_of, tone
from slipway_runtime.tasks.loading import load_config, load_network, load_part
from slipway_runtime.tasks.scores import Function, best_labels, label_names, usual_function

LONGEST = 60.0
"""Seconds that a model without a window of its own takes: attention's memory grows by the square."""


class AudioClassificationParameters(Parameters, frozen=True, kw_only=True):
    """`truncate` or `truncation` cuts what is longer than the model hears, at its end."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    function_to_apply: Function | None = None
    truncate: bool = False
    truncation: bool = False


class AudioClassification(Adapter):
    """The adapter."""

    task = "audio-classification"
    parameters = AudioClassificationParameters
    takes_media = True

    def __init__(self, hearing: Hearing, limits: Limits) -> None:
        self._hearing = hearing
        self._limits = limits
        self._rate: int = hearing.extractor.sampling_rate
        self._longest = _window(hearing.extractor)
        config = hearing.network.config
        self._usual = usual_function(config)
        self._labels = label_names(config)

    def parse(self, inputs: object, parameters: AudioClassificationParameters) -> Call:
        sounds, single = sounds_of(inputs, self._limits)
        return Call(inputs=sounds, parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        p: AudioClassificationParameters = call.parameters
        items = []
        for i, recording in enumerate(recordings_of(call.inputs, self._rate, self._limits, single=call.single)):
            if recording.seconds > self._longest and not (p.truncate or p.truncation):
                raise InvalidInput(
                    "inputs" if call.single else f"inputs[{i}]",
                    f"has {recording.seconds:.2f} s of sound, the model takes {self._longest:g} s; shorten it, or set "
                    "truncate to true",
                )
            features = self._hearing.features(recording.samples[: int(self._longest * self._rate)])
            items.append(Item(forward=self.forward, length=self._hearing.length(features), data=features))
        return items

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Logits [labels] per item, float32."""
        logits = self._hearing.outputs([item.data for item in items], lambda output: output.logits, framed=False)
        return [one.float().numpy() for one in logits]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        answers = [self._answer(logits, call.parameters) for logits in outputs]
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        return self.preprocess(self.parse(tone(1.0, self._rate), AudioClassificationParameters()))

    def _answer(self, logits: Any, p: AudioClassificationParameters) -> list[dict[str, Any]]:
        return best_labels(logits, self._labels, p.function_to_apply or self._usual, p.top_k)


def _window(extractor: Any) -> float:
    """Seconds that the extractor keeps: Whisper's says so in samples, AST's in frames of 10 ms."""
    if samples := getattr(extractor, "n_samples", 0):
        return float(samples / extractor.sampling_rate)
    if "AST" in type(extractor).__name__:
        return float(extractor.max_length / 100)
    return LONGEST


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    config = load_config(artifact)
    extractor = load_part(artifact, AutoFeatureExtractor, "feature extractor")
    network = load_network(artifact, AutoModelForAudioClassification, config, optional=TRAINING_ONLY)
    return network.loaded(AudioClassification(Hearing(network, extractor), limits))
