"""An image and a recording, made with the standard library: this file also runs where there is nothing else."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib


def png(width: int = 40, height: int = 30) -> bytes:
    """An RGB image with a gradient."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (255 * x // width, 255 * y // height, 120))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def wav(seconds: float = 0.5, rate: int = 16000) -> bytes:
    """Mono, 16 bit, a rising tone."""
    samples = (int(12000 * math.sin(i * (0.05 + i / rate / 10))) for i in range(int(seconds * rate)))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{int(seconds * rate)}h", *samples))
    return out.getvalue()
