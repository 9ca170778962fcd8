"""An image in the format that a caller's Accept asks for. Runs in a worker thread: encoding takes a while."""

from __future__ import annotations

import io

from slipway_runtime.tasks.adapter import Media

# What is written, by media type: Pillow's name of the format.
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def as_accepted(media: Media, accept: str) -> Media:
    """The image as the first of the accepted types that is known here; as it is if it will do, or nothing else does."""
    if not media.type.startswith("image/"):
        return media
    wanted = _in_order(accept)
    kind = next((kind for kind in wanted if kind in _FORMATS or kind in ("*/*", "image/*")), media.type)
    if kind == media.type or kind not in _FORMATS:
        return media
    from PIL import Image  # noqa: PLC0415 - only where it is needed: most models answer with no image

    image = Image.open(io.BytesIO(media.content))
    encoded = io.BytesIO()
    image.convert("RGB" if kind == "image/jpeg" else image.mode).save(encoded, format=_FORMATS[kind])
    return Media(encoded.getvalue(), kind)


def _in_order(accept: str) -> list[str]:
    """Media types of an Accept header, the preferred first; those of weight 0 left out."""
    weighed = []
    for entry in accept.split(","):
        kind, _, rest = entry.partition(";")
        weight = 1.0
        for parameter in rest.split(";"):
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if weight > 0:
            weighed.append((weight, kind.strip().lower()))
    return [kind for _, kind in sorted(weighed, key=lambda pair: -pair[0])]
