"""What an MP4 file claims to hold, before FFmpeg's library believes it.

Its index may say in a few bytes that there are 2**32 samples, and the library then makes an entry of 24 bytes for each
(measured: 7 kB of file, 1 GB of memory for 30 million). So the boxes that hold such numbers are looked at first.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MOST_SAMPLES = 2_000_000
"""Packets of sound: half an hour of AAC has less than 200,000. Uncompressed sound has more, and can come as wav."""

# Boxes with a count of samples, and the movie header that is a zlib stream.
_COUNTED = re.compile(rb"stsz|stz2|trun|cmov")
# A size for all samples (or none), then how many; of a fragment: how many.
_COUNT_AT = {b"stsz": 8, b"stz2": 8, b"trun": 4}


def too_many_samples(content: bytes) -> bool:
    """Whether an index in these bytes claims more than MOST_SAMPLES in all, or hides what it claims."""
    samples = 0
    for part in _parts(content):
        for found in _COUNTED.finditer(part):
            if found[0] == b"cmov":
                return True
            samples += max(_counts(part, found.end(), _COUNT_AT[found[0]]), default=0)
            if samples > MOST_SAMPLES:
                return True
    return False


def _counts(part: bytes, at: int, place: int) -> Iterator[int]:
    """The number there, or 8 bytes on, where the box has its size in 64 bits."""
    for start in (at, at + 8) if part[at - 8 : at - 4] == b"\0\0\0\1" else (at,):
        number = part[start + place : start + place + 4]
        if len(number) == 4:
            yield struct.unpack(">I", number)[0]


def _parts(content: bytes) -> Iterator[bytes]:
    """The file's boxes but for the sound itself, where any bytes may stand by chance. Where an index of segments says
    that boxes lie at other places too, all of it."""
    parts = list(_outside_of_sound(content))
    yield from [content] if any(b"sidx" in part for part in parts) else parts


def _outside_of_sound(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size == 1 and at + 16 <= len(content):
            size = struct.unpack_from(">Q", content, at + 8)[0]
        if size == 0:
            size = len(content) - at
        if size < 8:
            yield content[at:]
            return
        if kind != b"mdat":
            yield content[at : at + size]
        at += size
