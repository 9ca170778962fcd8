"""Progress for the person who waits: every line with the time since the start."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A command that another one started counts from the other one's start.
_SINCE = "SLIPWAY_CLUSTER_SINCE"
_START = float(os.environ.get(_SINCE) or time.monotonic())
_EVERY = 30.0


def say(text: str) -> None:
    """Prints `text` with the seconds since the command began."""
    print(f"[{time.monotonic() - _START:4.0f}s] {text}", flush=True)


def environment() -> dict[str, str]:
    """The environment for a command whose progress is to be told on the same clock."""
    return {**os.environ, _SINCE: str(_START)}


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announces a long step, says every half minute that it goes on, and says at the end how long it took."""
    say(f"{text} …")
    begun, over = time.monotonic(), threading.Event()

    def remind() -> None:
        while not over.wait(_EVERY):
            say(f"{text}: still at it after {time.monotonic() - begun:.0f} s")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        over.set()
        reminder.join()
    say(f"{text}: done in {time.monotonic() - begun:.0f} s")


def eventually(
    check: Callable[[], bool], what: str, seconds: float = 60, dead: Callable[[], str | None] = lambda: None
) -> None:
    """Waits until `check` is true.

    `dead` returns a sentence once waiting is pointless, for example because the process has ended. Raises RuntimeError
    with that sentence, or with `what` after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not check():
        if reason := dead():
            raise RuntimeError(reason)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
