"""One command at a time: starting and stopping the cluster exclude each other, over all checkouts of the machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .say import say

_FILE = Path("/run/lock/slipway-cluster.lock")


@contextmanager
def exclusive() -> Iterator[None]:
    """Holds the lock; waits, and says so, while another command has it. The file goes when the last one is done."""
    while True:
        handle = os.open(_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode().strip() or "?"
            say(f"another cluster command is at work (process {holder}); waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Its holder may have removed the file while we waited: then this lock guards nothing.
        if _FILE.exists() and os.fstat(handle).st_ino == _FILE.stat().st_ino:
            break
        os.close(handle)
    os.truncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    try:
        yield
    finally:
        _FILE.unlink(missing_ok=True)
        os.close(handle)
