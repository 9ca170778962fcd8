"""What a request may ask of speech recognition. Never imports torch.

InferenceClient sends `generation_parameters`, transformers' pipeline has `generate_kwargs`; language, task, prompt and
temperature may stand beside them as well, where OpenAI's transcriptions have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Parameters
from slipway_runtime.tasks.transcript import Granularity

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Prompt = Annotated[str, msgspec.Meta(max_length=8192)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Part = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]
Stride = Annotated[float, msgspec.Meta(ge=0, le=300)]
SpeechTask = Literal["transcribe", "translate"]


class Generation(Parameters, frozen=True, kw_only=True):
    """generate()'s own names, as huggingface_hub lists them for tasks with a generation."""

    do_sample: bool | None = None
    early_stopping: bool | Literal["never"] | None = None
    epsilon_cutoff: Part | None = None
    eta_cutoff: Part | None = None
    max_length: Count | None = None
    max_new_tokens: Count | None = None
    min_length: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_new_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    num_beams: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    no_repeat_ngram_size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    temperature: Temperature | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_p: Share | None = None
    typical_p: Share | None = None
    use_cache: bool | None = None

    def given(self) -> dict[str, Any]:
        """Those that the request has."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class SpeechGeneration(Generation, frozen=True, kw_only=True):
    """With what Whisper's generate() has beside them."""

    language: Name | None = None
    task: SpeechTask | None = None
    prompt: Prompt | None = None
    condition_on_prev_tokens: bool | None = None
    compression_ratio_threshold: Annotated[float, msgspec.Meta(gt=0)] | None = None


class SpeechParameters(Parameters, frozen=True, kw_only=True):
    """`return_timestamps`: true for segments (Whisper), word, or char (CTC)."""

    return_timestamps: bool | Literal["word", "char"] = False
    language: Name | None = None
    task: SpeechTask | None = None
    prompt: Prompt | None = None
    temperature: Temperature | None = None
    chunk_length_s: Seconds | None = None
    stride_length_s: Stride | Annotated[list[Stride], msgspec.Meta(min_length=2, max_length=2)] | None = None
    generation_parameters: SpeechGeneration | None = None
    generate_kwargs: SpeechGeneration | None = None


@dataclass(frozen=True)
class Options:
    """The same in one place, hashable: recordings with equal options share a batch."""

    timestamps: Granularity = ""
    language: str = ""
    task: SpeechTask | None = None
    prompt: str = ""
    generate: tuple[tuple[str, Any], ...] = ()
    """generate()'s other arguments."""
    chunk: float = 0.0
    """Seconds of a window. 0: as the model has it."""
    stride: tuple[float, float] | None = None
    """Seconds that windows share at their left and right."""


_BESIDE = ("language", "task", "prompt", "temperature")


def options_of(p: SpeechParameters) -> Options:
    """Raises InvalidInput where a parameter is given at two places, or windows make no sense."""
    found: dict[str, Any] = {}
    for place in ("", "generation_parameters", "generate_kwargs"):
        holder = getattr(p, place) if place else p
        names = _BESIDE if not place else SpeechGeneration.__struct_fields__
        for name in names:
            value = getattr(holder, name) if holder is not None else None
            if value is None:
                continue
            if name in found:
                raise InvalidInput(f"parameters.{place}.{name}", "is given twice; name it once")
            found[name] = value
    granularity: Granularity = p.return_timestamps if isinstance(p.return_timestamps, str) else ""
    chunk = p.chunk_length_s or 0.0
    return Options(
        timestamps="segment" if p.return_timestamps is True else granularity,
        language=found.pop("language", ""),
        task=found.pop("task", None),
        prompt=found.pop("prompt", "").strip(),
        generate=tuple(sorted(found.items())),
        chunk=chunk,
        stride=_stride(p, chunk),
    )


def _stride(p: SpeechParameters, chunk: float) -> tuple[float, float] | None:
    if p.stride_length_s is None:
        return None
    both = p.stride_length_s if isinstance(p.stride_length_s, list) else [p.stride_length_s] * 2
    if not chunk:
        raise InvalidInput("parameters.stride_length_s", "means nothing without chunk_length_s")
    if sum(both) >= chunk:
        raise InvalidInput(
            "parameters.stride_length_s",
            f"is {both[0]:g} s and {both[1]:g} s, together they must be less than chunk_length_s, which is {chunk:g} s",
        )
    return both[0], both[1]
