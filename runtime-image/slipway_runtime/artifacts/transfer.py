"""One file over a line that may break: what has arrived stays, and the rest is asked for by byte range."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from slipway_runtime.artifacts.progress import Progress

CHUNK = 64 * 1024  # what a broken line may lose: urllib3 throws away a read that it could not fill
TRIES = 5  # without a single byte in between; a line that moves is never given up
FIRST_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class Body:
    """An open response."""

    start: int
    """Where it begins: 0 where the server does not go on in the middle."""
    chunks: Iterator[bytes]
    close: Callable[[], None]


def transfer(
    target: Path,
    size: int | None,
    open_at: Callable[[int], Body],
    progress: Progress,
    *,
    broken: tuple[type[Exception], ...],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fill `target` up to `size` bytes (None: to the end). Raises the last of the `broken` errors after TRIES.

    `open_at` is asked for the bytes from an offset on; an error of its own that is not among `broken` ends it at once.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    again: tuple[type[Exception], ...] = (*broken, EOFError)
    failures = 0
    while True:
        have = target.stat().st_size if target.exists() else 0
        if size is not None and have > size:
            progress.add(size - have)
            target.unlink()
            have = 0
        if size is not None and have == size and target.exists():
            return
        try:
            _append(target, have, open_at(have), progress)
            if size is None or target.stat().st_size == size:
                return
            raise EOFError("the server ended early")
        except again:
            moved = target.exists() and target.stat().st_size > have
            failures = 0 if moved else failures + 1
            if failures >= TRIES:
                raise
            sleep(FIRST_WAIT_SECONDS * 2**failures)


def _append(target: Path, have: int, body: Body, progress: Progress) -> None:
    try:
        with target.open("r+b" if have else "wb") as file:
            if body.start != have:
                progress.add(body.start - have)
            file.seek(body.start)
            file.truncate()
            for chunk in body.chunks:
                file.write(chunk)
                progress.add(len(chunk))
    finally:
        body.close()
