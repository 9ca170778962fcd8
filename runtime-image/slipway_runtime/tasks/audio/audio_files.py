"""A recording's bytes → blocks of samples, by libsndfile and FFmpeg's libraries. Nothing is opened but these bytes.

The format is read off the first bytes and named to the library, so that neither guesses: a playlist (HLS, DASH, concat,
SDP), which would make FFmpeg open other files and URLs, is no format here. No process is started.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import soundfile  # type: ignore[import-untyped]

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.audio.audio_by_ffmpeg import open_by_ffmpeg
from slipway_runtime.tasks.audio.audio_kinds import READ, Kind, Samples, Stream, broken, found, kind_of_sound

_FRAMES = 1 << 16  # of one block
# libsndfile's count where a header has none (a FLAC that was written to a pipe).
_UNKNOWN = (1 << 63) - 1


def open_sound(content: bytes, field: str) -> Stream:
    """Raises InvalidInput where these bytes are no sound that can be read."""
    kind = kind_of_sound(content)
    if kind is None:
        raise InvalidInput(field, f"is no recording: found {found(content)}; read here are {READ}")
    if kind.soundfile:
        try:
            return _by_soundfile(content, kind, field)
        except soundfile.LibsndfileError:
            if not kind.demuxer:
                raise broken(kind, field) from None
    return open_by_ffmpeg(content, kind, field)


class _Bytes(io.BytesIO):
    """Where a broken header sends libsndfile before the beginning, it stays there: an exception inside its callback
    would be printed with its traceback, and go no further."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return super().seek(max(0, offset) if whence == 0 else offset, whence)


def _by_soundfile(content: bytes, kind: Kind, field: str) -> Stream:
    file = soundfile.SoundFile(_Bytes(content))
    if file.format not in (kind.soundfile, f"{kind.soundfile}EX"):  # WAVEX is a WAV with a longer header
        raise broken(kind, field)

    def blocks() -> Iterator[Samples]:
        with file:
            while True:
                try:
                    block = file.read(_FRAMES, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError:
                    raise broken(kind, field) from None
                if not len(block):
                    return
                yield block

    frames = None if file.frames >= _UNKNOWN else int(file.frames)
    return Stream(kind.name, int(file.samplerate), int(file.channels), frames, blocks())
