"""automatic-speech-recognition: a recording → its words, with timestamps where asked for.

One recording → one Transcript, a list → a list of them (tasks/transcript.py). Three kinds of models (tasks/speech):
Whisper, which knows languages and writes timestamps; CTC models (Wav2Vec2, HuBERT and their like), which give a letter
per frame; and other models that write text from sound (Speech2Text, Moonshine).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoModelForSpeechSeq2Seq

from slipway_runtime.artifacts import Artifact
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded
from slipway_runtime.tasks.audio.hearing import TRAINING_ONLY
from slipway_runtime.tasks.audio.recordings import recordings_of, sounds_of, tone
from slipway_runtime.tasks.audio.speech.ctc import Ctc
from slipway_runtime.tasks.audio.speech.options import Options, SpeechParameters, options_of
from slipway_runtime.tasks.audio.speech.recognizer import Heard, Recognizer
from slipway_runtime.tasks.audio.speech.text_from_sound import TextFromSound
from slipway_runtime.tasks.audio.speech.whisper import Whisper
from slipway_runtime.tasks.loading import load_config, load_network, load_part, load_tokenizer


@dataclass(frozen=True)
class Request:
    """The parsed inputs of one request."""

    sounds: list[Any]
    options: Options


class SpeechRecognition(Adapter):
    """The adapter."""

    task = "automatic-speech-recognition"
    parameters = SpeechParameters
    takes_media = True

    def __init__(self, recognizer: Recognizer, limits: Limits) -> None:
        self._recognizer = recognizer
        self._limits = limits

    def parse(self, inputs: object, parameters: SpeechParameters) -> Call:
        sounds, single = sounds_of(inputs, self._limits)
        options = self._recognizer.check(options_of(parameters))
        return Call(inputs=Request(sounds, options), parameters=parameters, single=single)

    def preprocess(self, call: Call) -> list[Item]:
        request: Request = call.inputs
        recordings = recordings_of(request.sounds, self._recognizer.rate, self._limits, single=call.single)
        items = []
        for i, recording in enumerate(recordings):
            field = "inputs" if call.single else f"inputs[{i}]"
            items += self._recognizer.items(recording, i, request.options, field)
        return items

    def postprocess(self, call: Call, outputs: list[Heard]) -> Any:
        options = call.inputs.options
        transcripts = [
            self._recognizer.transcript(list(heard), options)
            for _, heard in itertools.groupby(outputs, key=lambda heard: heard.piece.recording)
        ]
        return transcripts[0] if call.single else transcripts

    def warmup(self) -> list[Item]:
        return self.preprocess(self.parse(tone(1.0, self._recognizer.rate), SpeechParameters()))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    config = load_config(artifact)
    extractor = load_part(artifact, AutoFeatureExtractor, "feature extractor")
    tokenizer = load_tokenizer(artifact, config)
    architecture = str((config.architectures or [""])[0])
    auto_class = AutoModelForCTC if architecture.endswith("ForCTC") else AutoModelForSpeechSeq2Seq
    network = load_network(artifact, auto_class, config, optional=TRAINING_ONLY)
    recognizer: Recognizer
    if auto_class is AutoModelForCTC:
        recognizer = Ctc(network, extractor, tokenizer)
    elif config.model_type == "whisper":
        recognizer = Whisper(network, extractor, tokenizer)
    else:
        recognizer = TextFromSound(network, extractor, tokenizer, limits)
    return network.loaded(SpeechRecognition(recognizer, limits))
