"""A recording → samples by FFmpeg's libraries (PyAV), from these bytes alone: no process, no other file, no URL."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.audio.audio_kinds import MP3, Kind, Samples, Stream, broken
from slipway_runtime.tasks.audio.mp4 import too_many_samples

# What these containers usually hold. No video: FFmpeg's library would decode a picture of any size to learn about it.
_DECODERS = (
    "aac", "ac3", "alac", "amrnb", "amrwb", "eac3", "flac", "libopencore_amrnb", "libopencore_amrwb", "libopus",
    "libvorbis", "mp3", "mp3float", "opus", "pcm_alaw", "pcm_f32le", "pcm_mulaw", "pcm_s16be", "pcm_s16le", "pcm_s24le",
    "pcm_u8", "speex", "vorbis",
)  # fmt: skip
# No other protocol than the bytes at hand; no files that a QuickTime atom names.
_CLOSED = {
    "protocol_whitelist": "none",
    "codec_whitelist": ",".join(_DECODERS),
    "enable_drefs": "0",
    "use_absolute_path": "0",
}


def open_by_ffmpeg(content: bytes, kind: Kind, field: str) -> Stream:
    """Raises InvalidInput."""
    if kind.demuxer == "mov" and too_many_samples(content):
        raise InvalidInput(field, "is mp4 whose index says that it has far too many samples; send wav")
    try:
        container: Any = av.open(
            io.BytesIO(content), format=kind.demuxer, options=_CLOSED | {"format_whitelist": kind.demuxer}
        )
    except (av.FFmpegError, ValueError, OSError):
        raise broken(kind, field) from None
    if not container.streams.audio:
        container.close()
        raise InvalidInput(field, f"is {kind.name} without sound in it")
    stream = container.streams.audio[0]
    codec: Any = stream.codec_context
    if codec is None or codec.name not in _DECODERS:  # None: unknown to this build, or a header that was cut off
        container.close()
        if codec is None:
            raise broken(kind, field)
        raise InvalidInput(field, f"is {kind.name} with sound as {codec.name}, which is not read; send aac or wav")
    seconds: float | None = None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / av.time_base
    frames = container.decode(stream)
    try:
        first = next(frames, None)
    except (av.FFmpegError, ValueError, OSError):
        first = None
    if first is None:
        container.close()
        raise broken(kind, field)
    rate, channels = int(first.sample_rate), int(first.layout.nb_channels)  # a header may say less than there is

    def blocks() -> Iterator[Samples]:
        planar = av.AudioResampler(format="fltp")  # sample format only: rate and channels stay
        try:
            with container:
                for frame in itertools.chain([first], frames):
                    if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                        raise InvalidInput(field, f"is {kind.name} that changes its rate or its channels on the way")
                    for part in planar.resample(frame):
                        yield _block(part)
                for part in planar.resample(None):
                    yield _block(part)
        except (av.FFmpegError, ValueError, OSError):
            raise broken(kind, field) from None

    if kind is MP3:  # FFmpeg guesses its length from the first frames
        seconds = None
    return Stream(kind.name, rate, channels, round(seconds * rate) if seconds else None, blocks())


def _block(frame: Any) -> Samples:
    return np.ascontiguousarray(frame.to_ndarray().T, dtype=np.float32)
