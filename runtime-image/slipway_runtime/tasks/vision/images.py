"""Images: bytes → RGB pixels, within limits, and the networks that see them. Shared by every task that takes images."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.loading import Network, load_config, load_network, load_part
from slipway_runtime.tasks.media import content_of
from slipway_runtime.tasks.texts import checked_list

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_READ = "png, jpeg, webp, gif, bmp and tiff are read"
_PIXELS_PER_TOKEN = 16 * 16
# Many processors scale the shorter side to a fixed length and crop then: of a long strip they would make gigabytes.
_MOST_ASPECT = 50
# Each scan of a progressive JPEG goes over the whole image again, for as little as ten bytes. libtiff's limit as well.
_MOST_SCANS = 100
_FOUND = (
    (re.compile(rb"%PDF-"), "a PDF"),
    (re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<svg", re.I), "an SVG"),
    (re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.I), "HTML or XML"),
    (re.compile(rb"....ftyp(?:hei|hev|mif|avi)", re.S), "HEIC or AVIF"),
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3", re.S), "a video"),
    (re.compile(rb"RIFF....WAVE|ID3|fLaC|OggS|\xff[\xf3\xfb]", re.S), "a recording"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b"), "an archive"),
)


def image_of(value: object, field: str, limits: Limits) -> Image.Image:
    """An RGB image, upright, from a file's bytes or their base64; of an animation the first frame.

    Raises InvalidInput where there is none, where it is cut short, and, before anything is decoded, where its header
    announces more pixels than allowed.
    """
    content = content_of(value, field)
    image = _opened(content, field, limits)
    try:
        image.load()
        upright = image
        with contextlib.suppress(Exception):  # EXIF that cannot be read says nothing of the picture
            upright = ImageOps.exif_transpose(image)
        return _rgb(upright, field)
    except InvalidInput:
        raise
    except Exception:
        raise InvalidInput(
            field, f"is a {_kind(image)} of {len(content)} bytes that cannot be decoded; it may be cut short or damaged"
        ) from None


def _opened(content: bytes, field: str, limits: Limits) -> Image.Image:
    """The header, read and checked; the pixels are not decoded yet."""
    most = limits.max_image_pixels
    # Pillow's own guard, for what it allocates while it reads a header (a GIF's background); it lets up to twice pass.
    Image.MAX_IMAGE_PIXELS = most
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\d+", str(error))
        raise InvalidInput(field, _too_large(found[0] if found else "too many", most)) from None
    except Exception:
        kind = next((name for pattern, name in _FOUND if pattern.match(content)), "")
        what = f"is {kind}" if kind else f"has {len(content)} bytes that are none of these, or a damaged one"
        raise InvalidInput(field, f"is no image: {_READ}; it {what}") from None
    width, height = image.size
    if width * height > most:
        raise InvalidInput(field, _too_large(width * height, most))
    if max(width, height) > _MOST_ASPECT * min(width, height):
        raise InvalidInput(
            field,
            f"is {width} x {height} pixels; its longer side may be at most {_MOST_ASPECT} times the other: cut it up",
        )
    if image.format in ("JPEG", "MPO") and (scans := content.count(b"\xff\xda")) > _MOST_SCANS:
        raise InvalidInput(field, f"is a jpeg of {scans} scans, at most {_MOST_SCANS} are allowed; save it anew")
    tile = 1
    for tag in (322, 323):  # TIFF: the sides of a tile, which is decoded whole, however small the image
        side = getattr(image, "tag_v2", {}).get(tag)
        tile *= side if isinstance(side, int) else 1
    if tile > most:
        raise InvalidInput(field, _too_large(f"tiles of {tile}", most))
    return image


def _too_large(pixels: object, most: int) -> str:
    return f"has {pixels} pixels, at most {most} are allowed; scale it down"


def _kind(image: Image.Image) -> str:
    return (image.format or "file").lower()


def _rgb(image: Image.Image, field: str) -> Image.Image:
    """As transformers' load_image converts, transparency dropped; but 16 bits are scaled to 8, not clipped to white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise InvalidInput(field, f"is a {_kind(image)} with 32 bits per channel; convert it to 8 or 16")
    if "transparency" in image.info:  # Pillow warns where it would have to drop a palette's transparency itself
        image = image.convert("RGBA")
    return image.convert("RGB")


def images_in(inputs: object, limits: Limits) -> tuple[list[tuple[str, object]], bool]:
    """One image, or a JSON list of them → ([(field, not yet decoded), …], was it a single one). For `parse`: cheap."""
    if not isinstance(inputs, list):
        return [("inputs", inputs)], True
    return [(f"inputs[{i}]", value) for i, value in enumerate(checked_list(inputs, "inputs", limits))], False


def png(image: Image.Image | np.ndarray[Any, Any]) -> bytes:
    """The image as a PNG file. An array of uint8 [height, width] is greyscale."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, "PNG")
    return out.getvalue()


def png_base64(image: Image.Image | np.ndarray[Any, Any]) -> str:
    """The same in base64, as JSON answers hold it."""
    return base64.b64encode(png(image)).decode("ascii")


def tokens_of(pixel_values: torch.Tensor) -> int:
    """What an image costs: one per 16 x 16 of the pixels that the model sees, [channels, height, width]."""
    return max(1, pixel_values.shape[-1] * pixel_values.shape[-2] // _PIXELS_PER_TOKEN)


def cannot_scale(image: Image.Image, field: str) -> InvalidInput:
    """For an image with a side of a few pixels, which a processor scales to none."""
    return InvalidInput(field, f"is {image.width} x {image.height} pixels, which this model's processor cannot scale")


@dataclass(frozen=True)
class ImageModel(Network):
    """A network with its image processor, on its device."""

    processor: Any

    def pixels(self, image: Image.Image, field: str, **options: Any) -> Any:
        """What the processor makes of one image: a batch of one, on the processor's own device. Raises InvalidInput."""
        try:
            return self.processor(images=image, return_tensors="pt", **options)
        except (ValueError, RuntimeError, ZeroDivisionError):
            raise cannot_scale(image, field) from None

    def stacked(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Tensors of equal shape → one batch on the device, in the network's type."""
        batch = torch.stack(list(tensors))
        return batch.to(self.device, dtype=self.model.dtype if batch.is_floating_point() else None)


def load_image_model(
    artifact: Artifact, auto_class: Any, *, config: Any = None, optional: tuple[str, ...] = ()
) -> ImageModel:
    """Network and image processor, see `load_network`. Raises ModelFault."""
    config = config or load_config(artifact)
    processor = load_part(artifact, AutoImageProcessor, "image processor (preprocessor_config.json)", config=config)
    network = load_network(artifact, auto_class, config, optional=optional)
    return ImageModel(network.model, config, network.device, processor)
