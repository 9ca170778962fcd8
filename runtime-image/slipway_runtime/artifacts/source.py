"""The one shape that every source has, and the faults that all of them share. Never imports torch."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference
from slipway_runtime.errors import ModelFault


@dataclass(frozen=True)
class Entry:
    """A file as the source lists it."""

    size: int
    sha256: str | None = None
    """Where the source knows it."""


class Source(Protocol):
    """resolve → list → fetch, each of which raises ModelFault. Made anew for every attempt; `close` ends it."""

    reference: Reference

    def resolve(self) -> str:
        """The revision that the reference means now: a commit, or a digest."""

    def list(self, downloads: Path, progress: Progress) -> Mapping[str, Entry]:
        """Name → entry. An archive is fetched into `downloads` and checked for this, since its list is inside."""

    def fetch(self, names: tuple[str, ...], folder: Path, progress: Progress) -> None:
        """Put the named files of the list into `folder`, going on with what an earlier attempt left there."""

    def close(self) -> None:
        """Close connections and files."""


@contextmanager
def storage_faults(cache_dir: Path, reference: Reference) -> Iterator[None]:
    """Errors of the disk and of the connection below a library → ModelFault."""
    where = reference.shown
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelFault(
                "NoSpace",
                f"no space left in the cache while fetching {where}: enlarge the cache volume",
                "cache",
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise ModelFault(
                "BadConfiguration",
                f"SLIPWAY_CACHE_DIR={str(cache_dir)!r} cannot be written ({error.strerror})",
                "cache",
            ) from None
        raise broke_off(reference, error) from None


def broke_off(reference: Reference, error: BaseException) -> ModelFault:
    """The connection ended too often."""
    return ModelFault(
        "SourceUnreachable",
        f"fetching {reference.shown} broke off ({type(error).__name__}): it is tried again",
        reference.param,
    )


def wrong_digest(name: str, reference: Reference, *, found: str, wanted: str, kind: str = "sha256") -> ModelFault:
    """What arrived is not what was promised."""
    return ModelFault(
        "ModelCorrupt",
        f"{name} of {reference.shown} has the {kind} {found}, and it should have {wanted}. It is thrown away and "
        "fetched anew at the next attempt; if that does not help, the source holds another file than it says",
        reference.param,
    )


def begun(folder: Path) -> int:
    """Bytes on the disk of files on their way, here or below: ours end with .part, huggingface_hub's with .incomplete.

    They are gone on with, or written anew in their own place: neither needs further room.
    """
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in (".part", ".incomplete"))


def make_room(folder: Path, missing: int, reference: Reference) -> None:
    """NoSpace where `missing` bytes do not fit: said before gigabytes have moved."""
    folder.mkdir(parents=True, exist_ok=True)
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    if missing > free:
        raise ModelFault(
            "NoSpace",
            f"{'the model' if reference.kind == 'hub' else reference.shown} needs {missing} bytes more in the cache, "
            f"{free} are free: enlarge the cache volume",
            "cache",
        )
