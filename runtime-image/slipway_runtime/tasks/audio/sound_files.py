"""Samples → a file in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile  # type: ignore[import-untyped]

TYPES = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mpeg"}
_BLOCK = 1 << 14  # libvorbis takes its work space from the stack: a long recording at once would overflow it


def write_sound(samples: Any, rate: int, name: str) -> bytes:
    """[frames] or [frames, channels], full scale 1, as `name`: a key of TYPES. Louder samples are clipped."""
    loud = np.clip(np.nan_to_num(samples), -1.0, 1.0)
    file = io.BytesIO()
    channels = 1 if loud.ndim == 1 else loud.shape[1]
    with soundfile.SoundFile(file, "w", samplerate=rate, channels=channels, format=name.upper()) as sound:
        for start in range(0, len(loud), _BLOCK):
            sound.write(loud[start : start + _BLOCK])
    return file.getvalue()
