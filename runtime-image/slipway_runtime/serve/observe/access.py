"""The access log: one line per request, and of refusals a few each second with a count of the others.

A flood of requests that cost the model nothing must not cost the log's readers a disk.
"""

from __future__ import annotations

import time
from asyncio import get_running_loop
from collections.abc import Callable
from typing import Any

from slipway_runtime.serve.observe.logs import access, event

REFUSALS_PER_SECOND = 10
"""Lines for each status from 400 on; of 500 and 504, which are ours to explain, every one."""
_ALWAYS = frozenset((424, 500, 504))


class AccessLog:
    """On the event loop."""

    def __init__(self, *, per_second: int = REFUSALS_PER_SECOND, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._since = 0.0
        self._told: dict[int, int] = {}
        self._untold: dict[int, int] = {}

    def __call__(self, code: int, fields: dict[str, Any]) -> None:
        """The line of one request, unless it is one refusal too many."""
        if code >= 400 and code not in _ALWAYS and not self._allowed(code):
            if not self._untold:
                get_running_loop().call_later(1.0, self._tell)
            self._untold[code] = self._untold.get(code, 0) + 1
            return
        access(fields)

    def _allowed(self, code: int) -> bool:
        now = self._clock()
        if now - self._since >= 1.0:
            self._since = now
            self._told.clear()
        told = self._told[code] = self._told.get(code, 0) + 1
        return told <= self._per_second

    def _tell(self) -> None:
        counts, self._untold = self._untold, {}
        for code, count in counts.items():
            event("requests without a line of their own", code=code, count=count)
