"""Inputs that are sound: bytes, base64 or samples → one channel at the model's sampling rate, within the limits.

Decoded, mixed and resampled block by block, so that an hour of silence in a small file costs no memory before it is
refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr  # type: ignore[import-untyped]

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.audio.audio_files import open_sound
from slipway_runtime.tasks.audio.audio_kinds import Samples, Stream
from slipway_runtime.tasks.media import content_of
from slipway_runtime.tasks.texts import checked_list, kind_of

SHORTEST = 0.1
"""Seconds. Below it the first layers of speech models have nothing to work on; OpenAI's limit too."""
_RATES = (1_000, 192_000)
# More than 8 planes make PyAV read past its own table of them (found by damaging files: the process crashed).
_CHANNELS = 8
# Decoding work that a second within the limit may cost, in samples of all channels: stereo at 48 kHz.
_SAMPLES_PER_SECOND = 96_000
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Recording:
    """One recording, mono."""

    samples: Samples
    """Full scale is 1."""
    rate: int
    """Samples per second."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def sounds_of(inputs: object, limits: Limits) -> tuple[list[Any], bool]:
    """One recording or a list of them → (what `recordings_of` takes, was it a single one). Looks at the structure only.

    Raises InvalidInput.
    """
    if isinstance(inputs, list):
        sounds = checked_list(inputs, "inputs", limits)
        for i, sound in enumerate(sounds):
            _check_sound(sound, f"inputs[{i}]")
        return sounds, False
    _check_sound(inputs, "inputs")
    return [inputs], True


def recordings_of(sounds: list[Any], rate: int, limits: Limits, *, single: bool) -> list[Recording]:
    """Decode what `sounds_of` gave to `rate` samples per second. The limit on seconds is for all of them together.

    Raises InvalidInput.
    """
    recordings = []
    left = limits.max_audio_seconds
    for i, sound in enumerate(sounds):
        field = "inputs" if single else f"inputs[{i}]"
        stream = _samples(sound, field) if isinstance(sound, dict) else open_sound(content_of(sound, field), field)
        recordings.append(_recording(stream, field, rate, left, limits.max_audio_seconds))
        left -= recordings[-1].seconds
    return recordings


def tone(seconds: float, rate: int) -> dict[str, Any]:
    """A tone to warm up with: silence would be divided by its own loudness."""
    return {"array": (0.1 * np.sin(np.arange(int(seconds * rate)) * 0.2)).tolist(), "sampling_rate": rate}


def _check_sound(sound: object, field: str) -> None:
    if isinstance(sound, dict):
        if not ({"array", "sampling_rate"} <= sound.keys() or {"raw", "sampling_rate"} <= sound.keys()):
            raise InvalidInput(field, f"must have array and sampling_rate, got {', '.join(sound)[:200] or 'nothing'}")
    elif not isinstance(sound, bytes | str):
        raise InvalidInput(
            field,
            f"must be a recording's bytes, in JSON as base64 or as array and sampling_rate; got {kind_of(sound)}",
        )


def _samples(sound: dict[str, Any], field: str) -> Stream:
    """Samples as JSON numbers: one list, or one per channel."""
    name = "array" if "array" in sound else "raw"
    rate = sound["sampling_rate"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate != round(rate):
        raise InvalidInput(f"{field}.sampling_rate", "must be a whole number of samples per second")
    if not isinstance(sound[name], list):
        raise InvalidInput(f"{field}.{name}", f"must be a list of samples, got {kind_of(sound[name])}")
    try:
        array = np.asarray(sound[name])
    except ValueError:  # lists of different lengths
        array = np.empty(0)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or array.size == 0:
        raise InvalidInput(f"{field}.{name}", "must be a list of numbers, or one such list of equal length per channel")
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused
        samples = np.atleast_2d(array).astype(np.float32).T
    blocks = (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))
    return Stream("samples", int(rate), samples.shape[1], len(samples), blocks)


def _recording(stream: Stream, field: str, rate: int, left: float, most: float) -> Recording:
    if not _RATES[0] <= stream.rate <= _RATES[1]:
        raise InvalidInput(
            field, f"has {stream.rate} samples per second; {_RATES[0]} to {_RATES[1]} can be read, 16000 are plenty"
        )
    if not 1 <= stream.channels <= _CHANNELS:
        raise InvalidInput(field, f"has {stream.channels} channels; 1 to {_CHANNELS} can be read")
    if stream.frames is not None:
        _check_length(stream.frames, stream, field, left, most)
    resampler = soxr.ResampleStream(stream.rate, rate, 1, dtype="float32", quality="HQ")
    parts = list(_resampled(_mono(_within(stream, field, left, most), field), resampler, same=stream.rate == rate))
    samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if len(samples) < SHORTEST * rate:
        raise InvalidInput(field, f"has {len(samples) / rate:.3f} s of sound, at least {SHORTEST:g} s are needed")
    return Recording(samples, rate)


def _within(stream: Stream, field: str, left: float, most: float) -> Iterator[Samples]:
    """The blocks, as long as they are within the limit: a header may say anything."""
    frames = 0
    for block in stream.blocks:
        frames += len(block)
        _check_length(frames, stream, field, left, most)
        yield block


def _check_length(frames: int, stream: Stream, field: str, left: float, most: float) -> None:
    if frames > left * stream.rate:
        together = "" if left == most else " with those before it"
        raise InvalidInput(
            field,
            f"has {frames / stream.rate:.1f} s of sound or more{together}, at most {most:g} s are allowed; "
            "send it in parts",
        )
    if frames * stream.channels > most * _SAMPLES_PER_SECOND:
        raise InvalidInput(
            field,
            f"has more samples than {most:g} s of {_SAMPLES_PER_SECOND} per second ({stream.channels} channels at "
            f"{stream.rate}); send one channel at 16000",
        )


def _mono(blocks: Iterable[Samples], field: str) -> Iterator[Samples]:
    """The mean of the channels. A file of floating point numbers may hold anything, so they are looked at."""
    for block in blocks:
        with np.errstate(all="ignore"):
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise InvalidInput(field, "has samples that are no numbers (NaN or infinite)")
        if np.abs(mono).max(initial=0.0) > _LOUDEST:
            raise InvalidInput(field, f"has samples beyond {_LOUDEST:g}; full scale is 1")
        yield mono


# Integers of 32 bits that someone sent as they are: still sound, and their squares still fit float32.
_LOUDEST = float(1 << 31)


def _resampled(blocks: Iterable[Samples], resampler: Any, *, same: bool) -> Iterator[Samples]:
    for block in blocks:
        yield np.ascontiguousarray(block) if same else resampler.resample_chunk(np.ascontiguousarray(block))
    if not same:
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)
