"""sha256 of files, several at once: hashing leaves Python's lock, and brings the files into the page cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARALLEL = 4


def sha256_of(path: Path) -> str:
    """Hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Name → sha256 of every named file."""
    names = list(names)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="digest") as pool:
        return dict(zip(names, pool.map(lambda name: sha256_of(folder / name), names), strict=True))
