"""What a measurement is: tables, and the issue's targets beside what was reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Options:
    """What of a figure is measured, and how long."""

    only: tuple[str, ...] = ()
    """Names of servers; empty: all."""
    callers: tuple[int, ...] = ()
    """Empty: those of the figure."""
    seconds: float = 4.0
    windows: int = 3
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of Slipway's environment, beside its defaults."""
    threads: int = 0
    """Of every forward, the direct one's too; 0: each one's own choice. On a machine that others use, 1 keeps the
    ratios meaningful: two threads wait for each other, so that whoever takes one core halts both."""

    @property
    def environment(self) -> dict[str, str]:
        """Of all that runs a forward."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SLIPWAY_THREADS")
        return dict.fromkeys(names, str(self.threads)) if self.threads else {}

    def wants(self, name: str) -> bool:
        return not self.only or name in self.only


@dataclass(frozen=True)
class Target:
    """A bound of the issue, and what was reached."""

    what: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def bound(self) -> str:
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    @property
    def verdict(self) -> str:
        """`met`, or by how much it is missed."""
        bound = self.least if self.least is not None else self.most
        assert bound is not None, f"{self.what} has no bound"
        if self.met:
            return "met"
        return f"missed by {number(abs(self.value - bound))}{f' {self.unit}' if self.unit else ''}"


@dataclass
class Table:
    """A part of a figure."""

    title: str
    head: tuple[str, ...]
    lines: list[Sequence[str]] = field(default_factory=list)


@dataclass
class Measured:
    """What a figure came to."""

    tables: list[Table]
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """One subject. The texts go into RESULTS.md."""

    name: str
    title: str
    how: str
    bounds: str
    """What the values are made of, what was tried where a target is missed."""
    measure: Callable[[Options], Measured]


def number(value: float) -> str:
    """Three digits that mean something."""
    if value and abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
