"""A recording's bytes → blocks of samples, by libsndfile and FFmpeg's libraries. Nothing is opened but these bytes.

The format is read off the first bytes and named to the library, so that neither guesses: a playlist (HLS, DASH, concat,
SDP), which would make FFmpeg open other files and URLs, is no format here. No process is started.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import soundfile  # type: ignore[import-untyped]
from numpy.typing import NDArray

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.mp4 import too_many_samples

Samples = NDArray[np.float32]

READ = "wav, flac, ogg, mp3, aiff, webm, mp4 (m4a), aac and amr"
_FRAMES = 1 << 16  # of one block
# libsndfile's count where a header has none (a FLAC that was written to a pipe).
_UNKNOWN = (1 << 63) - 1
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


@dataclass(frozen=True)
class Kind:
    """A format: how messages call it, and which library reads it."""

    name: str
    soundfile: str = ""
    """libsndfile's name for it."""
    demuxer: str = ""
    """FFmpeg's name for it, tried where libsndfile cannot."""


_WAV = Kind("wav", "WAV", "wav")
# Never by libsndfile: the mpg123 in its wheel is 1.32.3, which writes past its memory where a stream changes its rate
# or channels (CVE-2024-10573, mended in 1.32.8), and it prints what it thinks of a file.
_MP3 = Kind("mp3", demuxer="mp3")
_KINDS: tuple[tuple[bytes, int, Kind], ...] = (  # magic bytes, where they are, kind
    (b"RIFF", 0, _WAV),
    (b"RF64", 0, Kind("wav", "RF64", "wav")),
    (b"fLaC", 0, Kind("flac", "FLAC", "flac")),
    (b"OggS", 0, Kind("ogg", "OGG", "ogg")),
    (b"FORM", 0, Kind("aiff", "AIFF")),
    (b"ID3", 0, _MP3),
    (b"\x1aE\xdf\xa3", 0, Kind("webm", demuxer="matroska")),
    (b"ftyp", 4, Kind("mp4", demuxer="mov")),
    (b"#!AMR", 0, Kind("amr", demuxer="amr")),
)
_OTHERS: tuple[tuple[bytes, str], ...] = (  # what people send by mistake
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"#EXTM3U", "a playlist, whose entries are not fetched"),
    (b"ffconcat", "a playlist, whose entries are not fetched"),
    (b"v=0", "a session description, which is not fetched"),
    (b"<", "XML or HTML"),
    (b"{", "JSON"),
    (b"MThd", "MIDI, which has notes and no sound"),
)


@dataclass(frozen=True)
class Stream:
    """Sound that is about to be decoded."""

    kind: str
    rate: int
    """Samples per second."""
    channels: int
    frames: int | None
    """As the header says, which may be wrong. None: it does not say."""
    blocks: Iterator[Samples]
    """[frames, channels] each. Raises InvalidInput where the sound is broken."""


def kind_of_sound(content: bytes) -> Kind | None:
    """By the first bytes; None where it is no format that is read here."""
    for magic, place, kind in _KINDS:
        if content[place : place + len(magic)] == magic:
            return kind
    if len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0:  # the sync word of an MPEG frame
        layer = content[1] >> 1 & 3
        return Kind("aac", demuxer="aac") if layer == 0 and content[1] & 0xF0 == 0xF0 else _MP3 if layer else None
    return None


def open_sound(content: bytes, field: str) -> Stream:
    """Raises InvalidInput where these bytes are no sound that can be read."""
    kind = kind_of_sound(content)
    if kind is None:
        raise InvalidInput(field, f"is no recording: found {_found(content)}; read here are {READ}")
    if kind.soundfile:
        try:
            return _by_soundfile(content, kind, field)
        except soundfile.LibsndfileError:
            if not kind.demuxer:
                raise _broken(kind, field) from None
    return _by_ffmpeg(content, kind, field)


class _Bytes(io.BytesIO):
    """Where a broken header sends libsndfile before the beginning, it stays there: an exception inside its callback
    would be printed with its traceback, and go no further."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return super().seek(max(0, offset) if whence == 0 else offset, whence)


def _by_soundfile(content: bytes, kind: Kind, field: str) -> Stream:
    file = soundfile.SoundFile(_Bytes(content))
    if file.format not in (kind.soundfile, f"{kind.soundfile}EX"):  # WAVEX is a WAV with a longer header
        raise _broken(kind, field)

    def blocks() -> Iterator[Samples]:
        with file:
            while True:
                try:
                    block = file.read(_FRAMES, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError:
                    raise _broken(kind, field) from None
                if not len(block):
                    return
                yield block

    frames = None if file.frames >= _UNKNOWN else int(file.frames)
    return Stream(kind.name, int(file.samplerate), int(file.channels), frames, blocks())


def _by_ffmpeg(content: bytes, kind: Kind, field: str) -> Stream:
    if kind.demuxer == "mov" and too_many_samples(content):
        raise InvalidInput(field, "is mp4 whose index says that it has far too many samples; send wav")
    try:
        container: Any = av.open(
            io.BytesIO(content), format=kind.demuxer, options=_CLOSED | {"format_whitelist": kind.demuxer}
        )
    except (av.FFmpegError, ValueError, OSError):
        raise _broken(kind, field) from None
    if not container.streams.audio:
        container.close()
        raise InvalidInput(field, f"is {kind.name} without sound in it")
    stream = container.streams.audio[0]
    codec: Any = stream.codec_context
    if codec is None or codec.name not in _DECODERS:  # None: unknown to this build, or a header that was cut off
        container.close()
        if codec is None:
            raise _broken(kind, field)
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
        raise _broken(kind, field)
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
            raise _broken(kind, field) from None

    if kind is _MP3:  # FFmpeg guesses its length from the first frames
        seconds = None
    return Stream(kind.name, rate, channels, round(seconds * rate) if seconds else None, blocks())


def _block(frame: Any) -> Samples:
    return np.ascontiguousarray(frame.to_ndarray().T, dtype=np.float32)


def _found(content: bytes) -> str:
    for magic, what in _OTHERS:
        if content.lstrip()[: len(magic)] == magic:
            return what
    return f"bytes that begin with {content[:8].hex(' ')}"


def _broken(kind: Kind, field: str) -> InvalidInput:
    return InvalidInput(field, f"looks like {kind.name}, but cannot be decoded; read here are {READ}")
