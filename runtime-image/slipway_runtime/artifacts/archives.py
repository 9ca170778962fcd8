"""What is inside an archive, and nothing of it on the disk until it has been asked for by name.

An archive is listed whole before a file of it is written. One entry that is not a plain file or folder with a plain
name refuses all of it: links, devices, absolute or parent paths, two entries of one name, sizes that no honest model
has. The same rules for tar, tar.gz and zip. tarfile's own `data` filter is not enough here: it lets links be.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from slipway_runtime.errors import ModelFault

MOST_FILES = 20_000
CHUNK = 1024**2
# Weights hardly shrink and JSON shrinks to a fifth; a bomb grows a thousand times.
MOST_GROWTH = 20
GROWTH_SLACK = 64 * 1024**2
MOST_NAME = 1024
_DRIVE = re.compile(r"[A-Za-z]:")
# Where one of these lies is the model's folder; archives often have a folder around it.
_MARKS = ("config.json", "adapter_config.json", "model_index.json", "modules.json")


@dataclass(frozen=True)
class Member:
    """One entry. `fault`: why it cannot be let through."""

    name: str
    size: int
    place: int
    """Tar: offset of the content in the unpacked stream; zip: index."""
    fault: str = ""


class Reader(Protocol):
    """An archive on the disk."""

    def members(self) -> list[Member]:
        """Every entry but plain folders, in order. Raises ModelFault where it cannot be read."""

    def extract(self, wanted: Mapping[str, Member], folder: Path) -> None:
        """Write members under the names given."""


@dataclass(frozen=True)
class Contents:
    """The model inside one archive, or inside the layers of an image: name → where it is."""

    files: dict[str, tuple[Reader, Member]] = field(default_factory=dict)

    def extract(self, names: Iterable[str], folder: Path) -> None:
        """Write the named files below `folder`."""
        by_reader: dict[int, tuple[Reader, dict[str, Member]]] = {}
        for name in names:
            reader, member = self.files[name]
            by_reader.setdefault(id(reader), (reader, {}))[1][name] = member
        for reader, wanted in by_reader.values():
            reader.extract(wanted, folder)


def contents(reader: Reader, source: str) -> Contents:
    """List one archive. Raises ModelFault UnsafeFormat for what no model's archive needs."""
    members = reader.members()
    names: set[str] = set()
    for member in members:
        if member.fault:
            raise unsafe(source, f"{member.name!r} {member.fault}")
        if member.name in names:
            raise unsafe(source, f"{member.name!r} is in it twice")
        names.add(member.name)
    root = model_root(names)
    found = {m.name.removeprefix(root): (reader, m) for m in members if m.name.startswith(root)}
    return Contents(found)


def model_root(names: Iterable[str]) -> str:
    """The folder that the model lies in, with a slash at its end, or ""."""
    marked = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in _MARKS]
    if not marked:
        return ""
    least = min(folder.count("/") if folder else -1 for folder in marked)
    nearest = sorted({folder for folder in marked if (folder.count("/") if folder else -1) == least})
    return f"{nearest[0]}/" if nearest[0] and len(nearest) == 1 else ""


def clean_name(name: str) -> tuple[str, str]:
    """(the name without ./, why it is refused or "")."""
    if not name.isprintable():
        return name, "has a name with control characters"
    if len(name) > MOST_NAME:
        return name[:80], f"has a name of more than {MOST_NAME} characters"
    if name.startswith("/") or "\\" in name or _DRIVE.match(name):
        return name, "has an absolute path or a backslash"
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        return name, "has a path that leads out (..)"
    return "/".join(parts), ""


def most_bytes(archive: Path) -> int:
    """How much an archive may hold, unpacked."""
    return archive.stat().st_size * MOST_GROWTH + GROWTH_SLACK


def unsafe(source: str, what: str) -> ModelFault:
    """An archive that is refused whole."""
    return ModelFault(
        "UnsafeFormat",
        f"{source} is refused, nothing of it was unpacked: {what}. Pack plain files only (tar --dereference, or zip)",
        "model.uri",
    )


@contextmanager
def reading(source: str, *errors: type[Exception]) -> Iterator[None]:
    """What a library raises over an archive that is none → ModelFault.

    Among it a seek to before the file's beginning, and a chain of headers that each announce the next one.
    """
    caught: tuple[type[Exception], ...] = (*errors, EOFError, ValueError, RecursionError)
    try:
        yield
    except caught as error:
        raise _damaged(source, error) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _damaged(source, error) from None


def _damaged(source: str, error: Exception) -> ModelFault:
    return ModelFault("ModelCorrupt", f"{source} cannot be read as an archive ({type(error).__name__})", "model.uri")


def copy(read: Reads, target: Path, size: int) -> None:
    """Write `size` bytes to a fresh file. A name in the way is replaced, never written through."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.part")
    fresh.unlink(missing_ok=True)
    left = size
    with fresh.open("xb") as out:
        while left > 0:
            chunk = read.read(min(CHUNK, left))
            if not chunk:
                raise EOFError("the archive ends early")
            out.write(chunk)
            left -= len(chunk)
    fresh.replace(target)


class Reads(Protocol):
    """The part of a file that `copy` needs."""

    def read(self, size: int, /) -> bytes: ...
