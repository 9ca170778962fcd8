"""What sound comes as: formats by their first bytes, and a stream of samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slipway_runtime.errors import InvalidInput

Samples = NDArray[np.float32]

READ = "wav, flac, ogg, mp3, aiff, webm, mp4 (m4a), aac and amr"


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
MP3 = Kind("mp3", demuxer="mp3")
_KINDS: tuple[tuple[bytes, int, Kind], ...] = (  # magic bytes, where they are, kind
    (b"RIFF", 0, _WAV),
    (b"RF64", 0, Kind("wav", "RF64", "wav")),
    (b"fLaC", 0, Kind("flac", "FLAC", "flac")),
    (b"OggS", 0, Kind("ogg", "OGG", "ogg")),
    (b"FORM", 0, Kind("aiff", "AIFF")),
    (b"ID3", 0, MP3),
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
        return Kind("aac", demuxer="aac") if layer == 0 and content[1] & 0xF0 == 0xF0 else MP3 if layer else None
    return None


def found(content: bytes) -> str:
    for magic, what in _OTHERS:
        if content.lstrip()[: len(magic)] == magic:
            return what
    return f"bytes that begin with {content[:8].hex(' ')}"


def broken(kind: Kind, field: str) -> InvalidInput:
    return InvalidInput(field, f"looks like {kind.name}, but cannot be decoded; read here are {READ}")
