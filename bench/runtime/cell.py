"""One cell of a table: a server under so many callers, its windows in turn with windows of the direct forward.

In turn, so that what else happens on the machine meets both: a cell's share is the median over the windows of the
server's rate by that of the direct forward right before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.machine import busy, cpu_of, tree
from bench.runtime.child import Child
from bench.runtime.figure import Options
from bench.runtime.limits import Load
from bench.runtime.servers import Server

DIRECT_SECONDS = 2.0
TOLERANCES = {"classification": 1e-4, "embeddings": 1e-4, "generation": 0.0}
"""Scores, 1 - cosine, whether a text differs."""


@dataclass(frozen=True)
class Window:
    """Of the direct forward and then of the server."""

    direct: float
    """Inputs per second."""
    direct_cpu: float
    """Seconds per input."""
    load: Load
    cpu: float
    """Seconds of the server's per request."""
    core: float
    """Share of a core that the client took."""
    others: float
    """Share of the machine that others took, while direct forward and server were measured."""
    difference: float


@dataclass(frozen=True)
class Cell:
    """Medians of windows."""

    callers: int
    at_once: int
    windows: tuple[Window, ...]
    megabytes: float
    """Resident, the most there ever was."""

    def of(self, value: Callable[[Window], float]) -> float:
        return median(value(window) for window in self.windows)

    @property
    def rate(self) -> float:
        """Inputs per second."""
        return self.of(lambda window: window.load.rate * self.at_once)

    @property
    def direct(self) -> float:
        return self.of(lambda window: window.direct)

    @property
    def share(self) -> float:
        return self.of(lambda window: window.load.rate * self.at_once / window.direct)

    @property
    def p50(self) -> float:
        return self.of(lambda window: window.load.p50)

    @property
    def p99(self) -> float:
        return self.of(lambda window: window.load.p99)

    @property
    def others(self) -> float:
        return max(window.others for window in self.windows)


@dataclass(frozen=True)
class Stage:
    """Who takes part: a server that runs, its client, and the direct forward of the same model."""

    server: Server
    client: Child
    direct: Child


def measure(on: Stage, callers: int, at_once: int, size: int, options: Options) -> Cell:
    """`size`: the batch size of the direct forward at which windows of so many inputs go fastest."""
    server, client, direct = on.server, on.client, on.direct
    windows = []
    client.ask("closed", callers=callers, seconds=1.0, at_once=at_once)
    for _ in range(options.windows):
        before = _marks()
        limit = direct.ask("window", callers=callers * at_once, size=size, seconds=DIRECT_SECONDS)
        cpu = server.cpu()
        told = client.ask("closed", callers=callers, seconds=options.seconds, at_once=at_once)
        used, others = server.cpu() - cpu, _others(before)
        windows.append(_window(on, told, limit, used / told["asked"], others))
    return Cell(callers, at_once, tuple(windows), server.megabytes("VmHWM"))


def _window(on: Stage, told: Any, limit: dict[str, float], cpu: float, others: float) -> Window:
    server, load = on.server, Load(**told["load"])
    if load.other:
        raise RuntimeError(f"{server.kind.title}: not all were answered with 200: {told['statuses']}")
    difference = on.direct.ask("check", pairs=told["pairs"])
    if difference > TOLERANCES[server.workload]:
        raise RuntimeError(f"{server.kind.title}: an answer differs from the direct forward's by {difference:.2g}")
    return Window(limit["rate"], limit["cpu"], load, cpu, told["core"], others, difference)


def _marks() -> tuple[float, float, float]:
    """Now, what the machine has used, what this bench has."""
    return time.perf_counter(), busy(), cpu_of(tree(os.getpid()))


def _others(before: Sequence[float]) -> float:
    at, all_of_it, own = (now - then for now, then in zip(_marks(), before, strict=True))
    return max(0.0, all_of_it - own) / (at * (os.cpu_count() or 1))
