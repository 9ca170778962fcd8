"""Inputs that are images or sound: the bytes themselves, or base64 in JSON. Nothing is fetched or opened by name."""

from __future__ import annotations

import binascii
import re

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.texts import kind_of

_DATA_URI = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.ASCII | re.I)
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]{1,31}:)?//|www\.", re.ASCII | re.I)
_PATH = re.compile(r"[./~]|[A-Za-z]:\\|[^\n]{1,250}\.[A-Za-z0-9]{2,5}$", re.ASCII)
_SEND = "send the file's bytes, in JSON as base64"


def content_of(value: object, field: str) -> bytes:
    """The bytes of an image or a recording: as they are, or from base64, which may be in a data: URI.

    Raises InvalidInput for anything else, URLs and paths among it.
    """
    if isinstance(value, bytes):
        return _filled(value, field)
    if not isinstance(value, str):
        raise InvalidInput(field, f"must be a file's bytes, or base64 of them in JSON; got {kind_of(value)}")
    text = value.strip()
    if uri := _DATA_URI.match(text):
        if not uri["base64"]:
            raise InvalidInput(field, "is a data: URI without base64; write data:TYPE;base64,…")
        text = text[uri.end() :]
    try:
        return _filled(binascii.a2b_base64(text, strict_mode=True), field)
    except (binascii.Error, ValueError):  # ValueError: characters outside ASCII
        raise InvalidInput(field, f"{_instead_of_base64(text)}; {_SEND}") from None


def _filled(content: bytes, field: str) -> bytes:
    if not content:
        raise InvalidInput(field, f"is empty; {_SEND}")
    return content


def _instead_of_base64(text: str) -> str:
    # Only asked of what is no base64: that of an MP3 begins with //, and that of a JPEG with /.
    if _URL.match(text):
        return "is a URL, which is not fetched here"
    if _PATH.match(text):
        return "looks like a path, which is not opened here"
    return "is not valid base64"
