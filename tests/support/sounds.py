"""Test sound: synthesised here, encoded by libsndfile and FFmpeg's libraries."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

RATE = 16_000
# What FFmpeg calls a container, and which codec goes into it.
_BY_FFMPEG = {"webm": "libopus", "mp4": "aac", "adts": "aac", "amr": "libopencore_amrnb", "matroska": "libopus"}


def chirp(seconds: float, rate: int = RATE, *, seed: int = 0) -> Any:
    """A rising tone with some noise, float32, mono: no two places sound alike."""
    at = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=at.size)
    tone = 0.4 * np.sin(2 * np.pi * (200 + 40 * seed + 150 * at) * at)
    return (tone + 0.02 * noise).astype(np.float32)


def sine(seconds: float, hertz: float = 440.0, rate: int = RATE) -> Any:
    """A pure tone, float32, mono."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: Any, container: str = "wav", rate: int = RATE, **options: Any) -> bytes:
    """Samples ([frames] or [frames, channels]) as a file: wav, flac, ogg, mp3, aiff, or one of FFmpeg's containers.

    `options`: subtype for the former, the container's own for the latter.
    """
    if container in _BY_FFMPEG:
        return _by_ffmpeg(samples, container, rate, options)
    import soundfile  # type: ignore[import-untyped]

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container.upper(), **options)
    return file.getvalue()


def _by_ffmpeg(samples: Any, container: str, rate: int, options: dict[str, str]) -> bytes:
    import av

    file = io.BytesIO()
    channels = np.atleast_2d(np.asarray(samples, np.float32).T)
    layout = "mono" if len(channels) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
    frame.sample_rate = rate
    with av.open(file, "w", format=container, options=options) as out:
        stream: Any = out.add_stream(_BY_FFMPEG[container], rate=rate)
        stream.layout = layout
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size or 320,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()
