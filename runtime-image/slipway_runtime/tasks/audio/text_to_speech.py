"""text-to-speech (alias text-to-audio): a text → sound, as a file: wav unless `format` says otherwise.

VITS says it in one forward; MusicGen plays it token by token. Both draw random numbers: `seed` makes an answer
repeatable.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from transformers import AutoTokenizer

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Limits, Loaded, Media, Parameters
from slipway_runtime.tasks.audio.sound_files import TYPES, write_sound
from slipway_runtime.tasks.audio.speaking import MusicGen, Speaker, Vits
from slipway_runtime.tasks.audio.speech.options import Generation
from slipway_runtime.tasks.loading import load_config, load_network, load_part
from slipway_runtime.tasks.texts import kind_of

LONGEST = 2000
"""Tokens of a text for models whose tokenizer knows no limit: some two minutes of speech."""
_MODELS: dict[str, tuple[str, type[Speaker]]] = {
    "vits": ("VitsModel", Vits),
    "musicgen": ("MusicgenForConditionalGeneration", MusicGen),
}


class SoundGeneration(Generation, frozen=True, kw_only=True):
    """With what MusicGen's generate() has beside them."""

    guidance_scale: Annotated[float, msgspec.Meta(ge=1, le=20)] | None = None


class TextToSpeechParameters(Parameters, frozen=True, kw_only=True):
    """`speaker_id` and `speaking_rate` are VITS', `generation_parameters` MusicGen's."""

    format: Literal["wav", "flac", "ogg", "mp3"] = "wav"
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] | None = None
    speaker_id: Annotated[int, msgspec.Meta(ge=0)] | None = None
    speaking_rate: Annotated[float, msgspec.Meta(ge=0.25, le=4)] | None = None
    generation_parameters: SoundGeneration | None = None
    generate_kwargs: SoundGeneration | None = None


@dataclass(frozen=True)
class Line:
    """A tokenized text and how it is to be said."""

    tokens: list[int]
    parameters: TextToSpeechParameters


class TextToSpeech(Adapter):
    """The adapter."""

    task = "text-to-speech"
    parameters = TextToSpeechParameters

    def __init__(self, speaker: Speaker, tokenizer: Any, limits: Limits) -> None:
        self._speaker = speaker
        self._tokenizer = tokenizer
        self._limits = limits
        most = min(int(tokenizer.model_max_length), LONGEST)  # 1e30 where it says nothing
        self._most = min(most, limits.max_input_tokens) if limits.max_input_tokens else most
        self._lock = threading.Lock()

    def parse(self, inputs: object, parameters: TextToSpeechParameters) -> Call:
        if not isinstance(inputs, str):
            raise InvalidInput("inputs", f"must be a string, got {kind_of(inputs)}; one recording is one request")
        if not inputs.strip():
            raise InvalidInput("inputs", "is empty; give a text")
        if parameters.generation_parameters is not None and parameters.generate_kwargs is not None:
            raise InvalidInput("parameters.generate_kwargs", "is given beside generation_parameters; give one of them")
        self._speaker.check(parameters, self._limits)
        return Call(inputs=inputs, parameters=parameters, single=True)

    def preprocess(self, call: Call) -> list[Item]:
        if len(call.inputs) > 20 * self._most:  # before a tokenizer works on megabytes
            raise InvalidInput(
                "inputs", f"has {len(call.inputs)} characters, far more than the model takes; shorten it"
            )
        with self._lock:  # VITS' is written in Python, and keeps what it does in itself
            tokens = self._tokenizer(call.inputs)["input_ids"]
        if len(tokens) > self._most:
            raise InvalidInput("inputs", f"has {len(tokens)} tokens, the model takes {self._most}; shorten it")
        if not self._speaker.says(tokens):
            raise InvalidInput("inputs", "has no character that this model can say")
        length = self._speaker.length(tokens, call.parameters)
        return [Item(forward=self.forward, length=length, data=Line(tokens, call.parameters))]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Samples [frames] or [frames, channels] per item. One by one: the random numbers of a batch are drawn for all
        of its items at once, so a text would sound different in other company, and a seed would mean nothing."""
        return [self._speaker.say(item.data.tokens, item.data.parameters, item.listener) for item in items]

    def postprocess(self, call: Call, outputs: list[Any]) -> Media:
        name = call.parameters.format
        return Media(write_sound(outputs[0], self._speaker.rate, name), TYPES[name])

    def warmup(self) -> list[Item]:
        brief = SoundGeneration(max_new_tokens=8) if self._speaker.generates else None
        return self.preprocess(self.parse("a warm day", TextToSpeechParameters(generation_parameters=brief)))


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    config = load_config(artifact)
    if config.model_type not in _MODELS:
        raise ModelFault("TaskNotSupported", f"{artifact.id} ({config.model_type}) {_why(config.model_type)}", "task")
    tokenizer = load_part(artifact, AutoTokenizer, "tokenizer", config=config)
    if getattr(tokenizer, "phonemize", False):
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id} is a voice of phonemes, which espeak would have to write; voices of letters are served, as "
            "the MMS ones are",
            "model",
        )
    import transformers  # noqa: PLC0415 - its classes by name, each with its own imports

    architecture, kind = _MODELS[config.model_type]
    network = load_network(artifact, getattr(transformers, architecture), config)
    return network.loaded(TextToSpeech(kind(network, tokenizer), tokenizer, limits))


def _why(model_type: str) -> str:
    if model_type == "speecht5":
        return (
            "writes spectrograms; the vocoder that makes sound of them and the voices are not in its repository. "
            "VITS (MMS) voices and MusicGen are served"
        )
    return "is not served for this task; VITS (MMS) voices and MusicGen are"
