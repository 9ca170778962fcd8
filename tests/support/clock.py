"""A clock that only moves when a test says so."""

from __future__ import annotations

import datetime


class Clock:
    """Monotonic seconds; `utc` is the wall clock, which `skew` sets apart from it."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self.skew = datetime.timedelta()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def utc(self) -> datetime.datetime:
        start = datetime.datetime(2026, 11, 21, 9, tzinfo=datetime.UTC)
        return start + datetime.timedelta(seconds=self.now) + self.skew
