"""Lines on their way to a file descriptor. Adding one never waits: not for a reader that stalls, not for a disk.

A thread writes them, several at once: waking it for every line would take the interpreter from the forward each time.
"""

from __future__ import annotations

import os
import select
import threading
import time
from datetime import UTC, datetime

import orjson

MAX_BYTES = 4 * 1024**2
"""Memory, while nobody reads: about ten thousand requests."""
COLLECT_SECONDS = 0.02


class Lines:
    """The lines of one file descriptor, in the order in which they were added."""

    def __init__(self, fd: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self.dropped = 0
        """Lines that found no room, or nobody to read them any more."""
        self._untold = 0
        self.several = False
        """Other processes write there, too: lines must then go out in pieces that the kernel does not mix."""
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """In the process that uses it: threads do not survive a fork, and what waits is the parent's to write."""
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._busy = False
        self._thread: threading.Thread | None = None

    def add(self, line: bytes) -> None:
        """A line with its line break; from any thread."""
        with self._lock:
            if self._bytes + len(line) > self._max_bytes:
                self.dropped += 1
                self._untold += 1
                return
            self._waiting.append(line)
            self._bytes += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        if not self._some.is_set():
            self._some.set()

    def flush(self, seconds: float) -> bool:
        """Wait until what was added is written, at most so long; whether it is."""
        until = time.monotonic() + seconds
        self._hurry.set()
        while (self._waiting or self._busy) and time.monotonic() < until:
            time.sleep(0.002)
        self._hurry.clear()
        return not self._waiting and not self._busy

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._hurry.wait(COLLECT_SECONDS)
            self._some.clear()
            with self._lock:
                lines, self._waiting, untold, self._untold = self._waiting, [], self._untold, 0
                self._busy = True
            if untold:
                lines.append(_told(untold))
            pieces = _pieces(lines) if self.several else [b"".join(lines)]
            written = all([self._write(piece) for piece in pieces])  # noqa: C419 - one that fails is not the last
            with self._lock:
                self._bytes = sum(map(len, self._waiting))
                self._busy = False
                self.dropped += 0 if written else len(lines)

    def _write(self, data: bytes) -> bool:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # a descriptor that somebody has made non-blocking
                select.select([], [self._fd], [])
            except OSError:  # the reader has gone
                return False
        return True


def _pieces(lines: list[bytes]) -> list[bytes]:
    """Whole lines, as many at once as a pipe takes in one piece. One that is longer may be mixed with others' lines."""
    pieces = [b""]
    for line in lines:
        if len(pieces[-1]) + len(line) > select.PIPE_BUF:
            pieces.append(b"")
        pieces[-1] += line
    return pieces


def _told(count: int) -> bytes:
    line = {
        "time": datetime.now(UTC),
        "level": "warning",
        "message": "log lines were dropped: nobody read them in time",
        "count": count,
    }
    return orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
