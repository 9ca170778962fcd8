"""Small files that would become huge: refused by what their headers say, in little memory and time."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from PIL import Image
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.vision.images import image_of

from tests.support.memory import peak_megabytes

LIMITS = Limits()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, data: bytes = b"\0" * 100) -> bytes:
    """Greyscale, one bit per pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    )


def gif(screen: tuple[int, int], frame: tuple[int, int], disposal: int = 0) -> bytes:
    control = b"\x21\xf9\x04" + bytes([disposal << 2]) + b"\0\0\0\0"
    palette = bytes(6)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + palette + control + image + b"\x3b"


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + 64, 0, 0, 14 + len(info)) + info + bytes(64)


def tiff(width: int, height: int, tile: tuple[int, int] | None = None) -> bytes:
    shape = {322: tile[0], 323: tile[1], 324: 8, 325: 8} if tile else {273: 8, 278: height, 279: 8}
    tags = sorted({256: width, 257: height, 258: 8, 259: 1 if not tile else 8, 262: 1, 277: 1, **shape}.items())
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 16) + zlib.compress(b"")[:8] + struct.pack("<H", len(tags)) + entries + bytes(4)


def jpeg(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "JPEG")
    content = out.getvalue()
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def webp(width: int, height: int) -> bytes:
    """An animation of no frames."""
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + struct.pack("<I", width - 1)[:3]
    body = b"WEBP" + canvas + struct.pack("<I", height - 1)[:3] + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", len(body)) + body


TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 * 1024**2), 9))
PROFILE = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(200 * 1024**2), 9))
BOMBS = {
    "png: a header": png(65535, 65535),
    "png: 2**31 wide": png(2**31 - 1, 2**31 - 1),
    "png: whole, 400 megapixels in 49 kB": png(20_000, 20_000, data=bytes(2501 * 20_000)),
    "gif: the screen": gif((65535, 65535), (1, 1)),
    "gif: the screen, cleared after the frame": gif((65535, 65535), (1, 1), disposal=2),
    "gif: the frame": gif((1, 1), (65535, 65535), disposal=2),
    "bmp": bmp(100_000, 100_000),
    "bmp: upside down": bmp(100_000, -100_000),
    "tiff": tiff(100_000, 100_000),
    "tiff: the tile": tiff(16, 16, tile=(65536, 65536)),
    "jpeg": jpeg(65000, 65000),
    "webp: the canvas": webp(16383, 16383),
    "a strip": png(40_000, 2, data=bytes(10_002)),
    "png: a strip of the most pixels": png(40_000_000, 1, data=bytes(5_000_001)),
    "png: a comment": png(8, 8, TEXT, data=bytes(16)),
    "png: a profile": png(8, 8, PROFILE, data=bytes(16)),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_bomb_is_refused_before_it_goes_off(name: str) -> None:
    content = BOMBS[name]
    assert len(content) < 300_000

    def refused() -> None:
        with pytest.raises(InvalidInput) as raised:
            image_of(content, "inputs", LIMITS)
        assert raised.value.message.startswith("inputs: ")

    started = time.monotonic()
    assert peak_megabytes(refused) < 60
    assert time.monotonic() - started < 2


def test_nothing_is_decoded_to_find_out_how_large_it_is() -> None:
    with pytest.raises(InvalidInput, match="has 4294836225 pixels, at most 40000000 are allowed; scale it down"):
        image_of(png(65535, 65535), "inputs", LIMITS)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    out = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    last = content.rindex(b"\xff\xda")
    bomb = content[:-2] + content[last:-2] * 2000 + b"\xff\xd9"
    started = time.monotonic()
    with pytest.raises(InvalidInput, match="of 2010 scans, at most 100 are allowed"):
        image_of(bomb, "inputs", LIMITS)
    assert time.monotonic() - started < 1


def test_an_image_of_the_most_pixels_is_read() -> None:
    content = png(8_000, 5_000, data=bytes(1001 * 5_000))
    assert image_of(content, "inputs", LIMITS).size == (8_000, 5_000)
