"""Tar archives, plain or with gzip."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from slipway_runtime.artifacts.archives import MOST_FILES, Member, clean_name, copy, most_bytes, reading, unsafe

# Names and extended headers are read whole into memory by tarfile, whatever length they claim.
MOST_HEADER = 1024**2
_ERRORS = (tarfile.TarError, zlib.error, gzip.BadGzipFile, OverflowError)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Bounded(io.RawIOBase):
    """A stream of which no header can ask for more than MOST_HEADER at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > MOST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class TarReader:
    """One tar file; `source` is the model's name for messages."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._source = path, source

    def members(self) -> list[Member]:
        most, found = most_bytes(self._path), list[Member]()
        with (
            reading(self._source, *_ERRORS),
            self._open() as stream,
            tarfile.open(fileobj=_Bounded(stream), mode="r:") as archive,
        ):
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # it would keep every one
                if info.offset_data + max(info.size, 0) > most:  # before it is read over
                    raise unsafe(self._source, f"it grows to more than {most} bytes when unpacked")
                if (member := _member(info)) is not None:
                    found.append(member)
                if len(found) > MOST_FILES:
                    raise unsafe(self._source, f"it has more than {MOST_FILES} files")
        return found

    def extract(self, wanted: Mapping[str, Member], folder: Path) -> None:
        with reading(self._source, *_ERRORS), self._open() as stream:
            # In the order of the stream: gzip cannot go back.
            for name, member in sorted(wanted.items(), key=lambda item: item[1].place):
                stream.seek(member.place)
                copy(stream, folder / name, member.size)

    def _open(self) -> BinaryIO:
        with self._path.open("rb") as file:
            magic = file.read(4)
        if magic == _ZSTD:
            raise unsafe(self._source, "it is packed with zstd, which this image does not read; use gzip")
        return gzip.open(self._path) if magic.startswith(_GZIP) else self._path.open("rb")  # type: ignore[return-value]


def _member(info: tarfile.TarInfo) -> Member | None:
    name, fault = clean_name(info.name)
    if info.isdir():
        return Member(name, 0, 0, fault) if fault else None
    if info.issym() or info.islnk():
        fault = fault or "is a link"
    elif info.issparse() or info.type == tarfile.GNUTYPE_SPARSE:
        fault = fault or "is a sparse file"
    elif not info.isreg() or info.size < 0 or not name:
        fault = fault or "is neither a file nor a folder"
    return Member(name, info.size, info.offset_data, fault)
