"""How far a download is. Written by download threads, read by /status."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class Progress:
    """Bytes done of bytes in all, with the rate since the start of this attempt."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.total = 0
        self.done = 0
        self._moved = 0
        self._started = clock()

    def expect(self, total: int, *, already: int = 0) -> None:
        """Set what is to be fetched, and how much of it lies there from an earlier attempt."""
        with self._lock:
            self.total, self.done, self._moved, self._started = total, already, 0, self._clock()

    def add(self, count: int) -> None:
        """Count bytes that arrived; negative when a server made us begin again."""
        with self._lock:
            self.done += count
            self._moved += count

    @property
    def percent(self) -> float | None:
        """0 to 100, None while the size is not known."""
        return round(100 * min(1.0, self.done / self.total), 1) if self.total else None

    @property
    def remaining_seconds(self) -> float | None:
        """By the rate of this attempt; None until something has arrived."""
        elapsed = self._clock() - self._started
        if not self.total or self._moved <= 0 or elapsed <= 0:
            return None
        return max(0.0, (self.total - self.done) * elapsed / self._moved)

    def bar(self) -> type[Any]:
        """A class with the part of tqdm's interface that huggingface_hub calls, feeding this object."""
        progress = self

        class Bar:
            def __init__(self, *_: Any, initial: int = 0, total: int | None = None, **__: Any) -> None:
                self.n, self.total = initial, total

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def update(self, count: float | None = 1) -> None:
                progress.add(int(count or 0))

            def update_transfer(self, count: float | None = 1) -> None:
                """Network bytes of a Xet download. Its being there makes huggingface_hub use one bar, not two."""

            def __getattr__(self, _: str) -> Any:  # set_description, refresh, close, …: nothing to draw
                return lambda *_args, **_kwargs: None

        return Bar
