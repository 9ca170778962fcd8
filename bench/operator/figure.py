"""What a measurement is: rows of a value beside a yardstick's, taken in the same run, and the bound it must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One value. Ratios travel from machine to machine, seconds do not: that is what `against` is for."""

    what: str
    value: float
    unit: str
    yardstick: str = ""
    against: float | None = None
    """The yardstick's value, in the same unit."""
    below: float | None = None
    """The bound: the value must be less."""
    most: float | None = None
    """The bound: the value may be as much."""

    @property
    def ratio(self) -> float | None:
        return self.value / self.against if self.against else None

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None without one."""
        if self.below is not None:
            return self.value < self.below
        return None if self.most is None else self.value <= self.most


@dataclass(frozen=True)
class Figure:
    """One subject with its rows. `measure` takes a minute at most; the texts go into RESULTS.md."""

    name: str
    title: str
    how: str
    limits: str
    """What the values are made of."""
    better: str
    """What would improve them."""
    measure: Callable[[], list[Row]]
