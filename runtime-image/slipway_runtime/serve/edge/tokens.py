"""The tokens that callers may have: one per file of a folder, as Kubernetes mounts a Secret.

Only digests are kept. The folder is read anew every second, in a thread of its own, since a disk may hang: a file that
Kubernetes adds or takes away (it swaps a link, so readers never see half of it) counts within that time. Reading a few
small files costs less than finding out for certain that none of them has changed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slipway_runtime.serve.observe.logs import event

SECONDS = 1.0
MAX_TOKENS = 100
MAX_TOKEN_BYTES = 4096
STALE_SECONDS = 60.0  # a folder that cannot be read for so long may have lost a token meanwhile


@dataclass(frozen=True)
class Known:
    """A valid token."""

    digest: bytes
    """SHA-256."""
    caller: str
    """How this process tells its callers apart. Nobody who sees it can try tokens against it: it has a key."""


class Tokens:
    """Which tokens are valid now. None are where the folder is missing, empty or cannot be read."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: tuple[Known, ...] = ()
        self._read_at = clock()
        self._ended = threading.Event()
        self.problem: str | None = "not read yet"
        """Why there are none, or not all; for /status."""
        self.read()

    def watch(self) -> None:
        """Read the folder every second, until the process ends."""
        threading.Thread(target=self._watch, name="tokens", daemon=True).start()

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            self.read()

    @property
    def count(self) -> int:
        """How many are valid."""
        return len(self._known) if self._fresh else 0

    @property
    def _fresh(self) -> bool:
        return self._clock() - self._read_at < STALE_SECONDS

    def caller(self, token: bytes) -> str | None:
        """Who has this token; None where it is not valid. Takes as long for one as for another."""
        if len(token) > MAX_TOKEN_BYTES or not self._fresh:
            return None
        digest = hashlib.sha256(token).digest()
        found = None
        for known in self._known:  # all of them: where it stops would say which
            if hmac.compare_digest(known.digest, digest):
                found = known.caller
        return found

    def read(self) -> None:
        """Read the folder. What was valid before and is not there any more is not valid any more."""
        known, problem = self._found()
        if known != self._known or problem != self.problem:
            event("API tokens", accepted=len(known), problem=problem)
        self._known, self.problem, self._read_at = known, problem, self._clock()

    def _found(self) -> tuple[tuple[Known, ...], str | None]:
        try:
            names = sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            return (), f"{self._folder} cannot be read ({error.strerror}): every request is refused"
        tokens: set[bytes] = set()
        wrong = None
        for name in names:
            try:
                token = _content(f"{self._folder}/{name}")
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                wrong = f"{self._folder}/{name[:80]} is no token ({why})"
                continue
            if token and len(tokens) >= MAX_TOKENS:
                wrong = f"{self._folder} has more than {MAX_TOKENS} tokens: those after the first are not valid"
                break
            if token:
                tokens.add(token)
        if not tokens:
            return (), wrong or f"{self._folder} has no token: every request is refused"
        return tuple(sorted((self._known_of(token) for token in tokens), key=lambda known: known.digest)), wrong

    def _known_of(self, token: bytes) -> Known:
        return Known(hashlib.sha256(token).digest(), hashlib.blake2b(token, key=self._key, digest_size=8).hexdigest())


def _content(path: str) -> bytes:
    """A file's token, empty where it holds none. Raises OSError, and ValueError for what is no such file."""
    # Without O_NONBLOCK a pipe would be waited for.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no file")
        content = os.read(handle, MAX_TOKEN_BYTES + 3)
    finally:
        os.close(handle)
    token = content.rstrip(b"\r\n")
    if len(token) > MAX_TOKEN_BYTES:
        raise ValueError(f"longer than {MAX_TOKEN_BYTES} bytes")
    return token
