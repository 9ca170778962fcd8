"""Images as callers send them: formats, modes, orientation; what is refused, and how that is said."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.vision.images import image_of, png, png_base64

LIMITS = Limits()


def picture(width: int = 40, height: int = 24, mode: str = "RGB") -> Image.Image:
    """A gradient: left dark, right light; top red, bottom green."""
    y, x = np.mgrid[0:height, 0:width]
    red = np.where(y < height // 2, 255, 0)
    rgb = np.stack([red, 255 - red, x * 255 // width], axis=-1).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refusal(value: object, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidInput) as raised:
        image_of(value, "inputs", limits)
    return raised.value.message


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff"])
def test_every_format_that_the_message_names_is_read(kind: str) -> None:
    image = image_of(encoded(picture(), kind), "inputs", LIMITS)
    assert (image.mode, image.size) == ("RGB", (40, 24))
    off = np.abs(np.asarray(image).astype(int) - np.asarray(picture()).astype(int)).mean()
    assert off < 30  # gif has 256 colours, jpeg and webp smear the edge


def test_base64_and_a_data_uri_are_the_same_image() -> None:
    content = encoded(picture())
    text = base64.b64encode(content).decode()
    for value in (content, text, f"data:image/png;base64,{text}"):
        assert image_of(value, "inputs", LIMITS).tobytes() == picture().tobytes()


def test_a_photograph_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    content = encoded(picture(), "jpeg", exif=exif, quality=95)
    assert image_of(content, "inputs", LIMITS).size == (24, 40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_lose_the_picture() -> None:
    content = encoded(picture(), "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 20)
    assert image_of(content, "inputs", LIMITS).size == (40, 24)


def test_of_an_animation_the_first_frame_is_seen() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert image_of(content, "inputs", LIMITS).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = image_of(encoded(picture(mode=mode)), "inputs", LIMITS)
    assert (image.mode, image.size) == ("RGB", (40, 24))


def test_cmyk_becomes_rgb() -> None:
    assert image_of(encoded(picture(mode="CMYK"), "jpeg"), "inputs", LIMITS).mode == "RGB"


def test_a_palette_with_transparency_keeps_its_colours() -> None:
    content = encoded(picture(mode="P"), transparency=bytes(range(256)))
    seen = np.asarray(image_of(content, "inputs", LIMITS))
    np.testing.assert_array_equal(seen, np.asarray(picture(mode="P").convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped_to_white() -> None:
    grey = (np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64)
    seen = np.asarray(image_of(encoded(Image.fromarray(grey)), "inputs", LIMITS))
    np.testing.assert_array_equal(seen[..., 0], grey >> 8)


def test_thirty_two_bits_are_refused() -> None:
    deep = Image.fromarray(np.ones((4, 4), dtype=np.float32))
    assert "32 bits per channel; convert it to 8 or 16" in refusal(encoded(deep, "tiff"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"<!DOCTYPE html><title>404</title>", "HTML or XML"),
        (b"\0\0\0\x18ftypheic", "HEIC or AVIF"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a recording"),
        (b"PK\x03\x04", "an archive"),
        (b"nothing in particular", "has 21 bytes that are none of these"),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(content: bytes, found: str) -> None:
    message = refusal(content)
    assert found in message
    assert "png, jpeg, webp, gif, bmp and tiff are read" in message


@pytest.mark.parametrize("kind", ["ppm", "tga", "ico", "pcx"])
def test_formats_that_pillow_would_read_but_nobody_sends_are_refused(kind: str) -> None:
    assert "is no image" in refusal(encoded(picture(), kind))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_file_cut_short_is_refused(kind: str) -> None:
    content = encoded(picture(200, 200), kind)
    message = refusal(content[: len(content) // 2])
    assert "cut short or damaged" in message or "a damaged one" in message


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged files
def test_whatever_is_damaged_is_read_or_refused(kind: str) -> None:
    content = encoded(picture(mode="P" if kind == "gif" else "RGB"), kind)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, min(len(content), 400), random.integers(1, 6)):
            damaged[place] = random.integers(256)
        try:
            assert image_of(bytes(damaged), "inputs", LIMITS).mode == "RGB"
        except InvalidInput:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("value", ["https://example.com/cat.png", "/etc/passwd", "file:///etc/passwd", "cat.png"])
def test_urls_and_paths_are_refused_not_opened(value: str) -> None:
    message = refusal(value)
    assert message.startswith("inputs: ")
    assert "base64" in message


def test_more_pixels_than_allowed_are_refused_with_both_numbers() -> None:
    message = refusal(encoded(picture(40, 25)), Limits(max_image_pixels=999))
    assert "has 1000 pixels, at most 999 are allowed" in message
    assert image_of(encoded(picture(40, 25)), "inputs", Limits(max_image_pixels=1000)).size == (40, 25)


def test_answers_hold_png() -> None:
    mask = np.eye(5, dtype=np.uint8) * 255
    seen = Image.open(io.BytesIO(base64.b64decode(png_base64(mask))))
    assert (seen.format, seen.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(seen), mask)
    assert png(picture()).startswith(b"\x89PNG")
