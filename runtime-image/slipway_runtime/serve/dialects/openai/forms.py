"""multipart/form-data, from a body that is already read and bounded. Nothing is written to a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from slipway_runtime.errors import InvalidInput, UnsupportedEncoding

_MOST_PARTS = 64


@dataclass
class Form:
    """The fields by name, in order; files by theirs."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def read_form(body: bytes, headers: Mapping[str, str]) -> Form:
    """Raises InvalidInput or UnsupportedEncoding."""
    media, options = parse_options_header(headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if media != b"multipart/form-data" or not boundary:
        raise UnsupportedEncoding("send the recording as multipart/form-data, with the fields file and model")
    reader = _Reader()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": reader.begin,
            "on_header_field": reader.header_name,
            "on_header_value": reader.header_value,
            "on_header_end": reader.header_end,
            "on_part_data": reader.data,
            "on_part_end": reader.end,
            "on_end": reader.finish,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise InvalidInput("", "the body is not valid multipart/form-data") from None
    if not reader.finished:
        raise InvalidInput("", "the body is cut off: its last boundary is missing")
    return reader.form


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.form = Form()
        self.finished = False
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._content = bytearray()

    def begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InvalidInput("", f"the form has more than {_MOST_PARTS} fields")
        self._headers, self._content = {}, bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self.form.files[name] = bytes(self._content)
            return
        try:
            self.form.fields.setdefault(name, []).append(self._content.decode())
        except UnicodeDecodeError:
            raise InvalidInput(name[:80], "is not UTF-8") from None

    def finish(self) -> None:
        self.finished = True
