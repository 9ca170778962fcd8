"""Zip archives, stored or deflated."""

from __future__ import annotations

import itertools
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from slipway_runtime.artifacts.archives import MOST_FILES, Member, clean_name, copy, most_bytes, reading, unsafe

_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, struct.error)
_END = struct.Struct("<4s4H2LH")  # end of central directory record
_END64 = struct.Struct("<4sQ2H2L4Q")  # the same of zip64
_LOCATOR64 = struct.Struct("<4sLQL")  # where that is
_LONGEST_END = _END64.size + _LOCATOR64.size + _END.size + 65535  # with a comment
_LOCAL_HEADER = 30
_MOST_DIRECTORY = MOST_FILES * 1024
_KINDS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class ZipReader:
    """One zip file; `source` is the model's name for messages."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._source = path, source

    def members(self) -> list[Member]:
        with reading(self._source, *_ERRORS):
            self._check_directory_size()
            with zipfile.ZipFile(self._path) as archive:
                infos = archive.infolist()
        most = most_bytes(self._path)
        if len(infos) > MOST_FILES:
            raise unsafe(self._source, f"it has more than {MOST_FILES} files")
        if sum(info.file_size for info in infos) > most:
            raise unsafe(self._source, f"it grows to more than {most} bytes when unpacked")
        in_order = sorted(infos, key=lambda info: info.header_offset)
        for info, after in itertools.pairwise(in_order):
            if info.header_offset + _LOCAL_HEADER + info.compress_size > after.header_offset:
                raise unsafe(self._source, f"{info.filename!r} and {after.filename!r} share bytes")
        found = (_member(info, i) for i, info in enumerate(infos))
        return [member for member in found if member is not None]

    def extract(self, wanted: Mapping[str, Member], folder: Path) -> None:
        with reading(self._source, *_ERRORS), zipfile.ZipFile(self._path) as archive:
            infos = archive.infolist()
            for name, member in wanted.items():
                with archive.open(infos[member.place]) as content:
                    copy(content, folder / name, member.size)
                    content.read(1)  # the end, where the checksum is compared

    def _check_directory_size(self) -> None:
        """zipfile reads the whole directory into memory, and makes an object of each entry.

        Where a locator of zip64 stands before the end, zipfile takes the size from zip64's record, whatever the end
        itself says. Its versions look for that record in two ways; only a place where both find it is let through.
        """
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            begin = file.seek(max(0, size - _LONGEST_END))
            tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise zipfile.BadZipFile
        *_, directory, _, _ = _END.unpack_from(tail, at)
        locator, record = at - _LOCATOR64.size, at - _LOCATOR64.size - _END64.size
        if tail[max(0, locator) : at].startswith(b"PK\x06\x07"):
            *_, place, _ = _LOCATOR64.unpack_from(tail, locator)
            if record < 0 or place != begin + record or not tail.startswith(b"PK\x06\x06", record):
                raise zipfile.BadZipFile
            *_, directory, _ = _END64.unpack_from(tail, record)
        if directory > _MOST_DIRECTORY:
            raise unsafe(self._source, f"its directory has more than {_MOST_DIRECTORY} bytes")


def _member(info: zipfile.ZipInfo, index: int) -> Member | None:
    if not info.filename:
        return Member("", info.file_size, index, "has no name")
    name, fault = clean_name(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not fault and info.orig_filename != info.filename:
        fault = "has a name with a zero byte or a foreign separator"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = fault or ("is a link" if kind == stat.S_IFLNK else "is neither a file nor a folder")
    elif info.is_dir():
        return Member(name, 0, index, fault) if fault else None
    elif info.flag_bits & 0x1:
        fault = fault or "is encrypted"
    elif info.compress_type not in _KINDS:
        fault = fault or "is packed by a method other than deflate"
    return Member(name, info.file_size, index, fault)
