"""Rates beside the direct forward's: classification (A), embeddings (B), generation (C)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from bench.runtime import cell
from bench.runtime.cell import Cell, Stage
from bench.runtime.child import Child
from bench.runtime.figure import Figure, Measured, Options, Table, Target, number
from bench.runtime.inputs import FOLDERS, NEW_TOKENS
from bench.runtime.servers import KINDS, Kind, Server

TEXTS = 32  # per request, where requests hold several
_LOAD = ("server", "callers", "rate", "direct", "share", "p50 ms", "p99 ms")
_COST = ("CPU s per 1000", "direct's", "peak MiB", "client", "others")
HEAD = (*_LOAD, "p99/p50", *_COST)
STREAM_HEAD = (*_LOAD, "first p50 ms", "first p99 ms", *_COST)
Cells = dict[tuple[str, int, int], Cell]
"""By server, callers and texts per request."""


class Throughput:
    """One workload under several numbers of callers."""

    def __init__(self, workload: str, callers: Sequence[int], at_once: Sequence[int] = (1,)) -> None:
        self._workload = workload
        self._callers = callers
        self._at_once = at_once

    def __call__(self, options: Options) -> Measured:
        loads = [(callers, 1) for callers in options.callers or self._callers]
        loads += [(1, count) for count in self._at_once if count > 1 and not options.callers]
        cells: Cells = {}
        notes: list[str] = []
        with direct_forward(self._workload, options) as direct:
            sizes = {load: direct.ask("best", callers=load[0] * load[1]) for load in loads}
            own = self._direct_table(direct, sizes, options)
            for seed, kind in enumerate((kind for kind in KINDS.values() if self._measures(kind, options)), start=100):
                try:
                    cells |= self._cells(kind, direct, sizes, options, seed)
                except Exception as error:
                    if kind.ours:
                        raise
                    notes.append(f"{kind.title} is not measured: {error}")
        table = Table("Servers", self._head, [self._line(KINDS[name], one) for (name, _, _), one in cells.items()])
        differences = [window.difference for one in cells.values() for window in one.windows]
        if differences:
            notes.append(f"Answers under load differ from the direct forward's by at most {max(differences):.1g}.")
        return Measured([own, table], targets(self._workload, cells), notes)

    def _cells(
        self, kind: Kind, direct: Child, sizes: Mapping[tuple[int, int], int], options: Options, seed: int
    ) -> Cells:
        """All of one server's. An error says what the server said last."""
        cells: Cells = {}
        with Server(kind, self._workload, options) as server, Child("bench.runtime.client") as client:
            on = Stage(server, client, direct)
            try:
                start(on, seed=seed)
                for (callers, at_once), size in sizes.items():
                    found = cell.measure(on, callers, at_once, size, options)
                    cells[kind.name, callers, at_once] = found
                    print(f"  {' | '.join(self._line(kind, found))}", file=sys.stderr, flush=True)
            except Exception:
                print(f"{kind.title} said last: {server.last_words()}", file=sys.stderr)
                raise
        return cells

    def _measures(self, kind: Kind, options: Options) -> bool:
        return options.wants(kind.name) and self._workload in kind.workloads

    @property
    def _unit(self) -> int:
        """What is counted per request: tokens where text is written."""
        return NEW_TOKENS if self._workload == "generation" else 1

    @property
    def _head(self) -> tuple[str, ...]:
        return STREAM_HEAD if self._workload == "generation" else HEAD

    def _direct_table(self, direct: Child, sizes: dict[tuple[int, int], int], options: Options) -> Table:
        """The limit for each number of callers, and what padding costs."""
        name = "tokens/s" if self._workload == "generation" else "inputs/s"
        table = Table("Direct forward", ("windows of", "order", "batch", name, "CPU s per 1000"))
        rows = [(callers * count, size, False) for (callers, count), size in sizes.items()]
        # What nobody can reach who must answer, and what mixed lengths cost.
        rows += [(512, 16, False), (32, 32, True)] if self._workload != "generation" and not options.only else []
        for window, size, in_order in rows:
            told = direct.ask("window", callers=window, size=size, seconds=options.seconds, in_order=in_order)
            order = "of arrival" if in_order or window == 1 else "by length"
            table.lines.append(
                (str(window), order, str(size), number(told["rate"] * self._unit), number(told["cpu"] * 1000))
            )
        return table

    def _line(self, kind: Kind, one: Cell) -> tuple[str, ...]:
        callers = f"{one.callers} × {one.at_once} texts" if one.at_once > 1 else str(one.callers)
        cpu = one.of(lambda window: window.cpu) * 1000 / one.at_once
        core, others = one.of(lambda window: window.core), one.others
        head = (kind.title, callers, number(one.rate * self._unit), number(one.direct * self._unit), f"{one.share:.2f}")
        times: tuple[str, ...] = (number(one.p50 * 1000), number(one.p99 * 1000))
        if self._workload == "generation":
            first = [one.of(lambda w: w.load.first_p50), one.of(lambda w: w.load.first_p99)]
            # Where nothing is streamed there is no first token before the last.
            times += tuple(number(value * 1000) if kind.chats else "–" for value in first)
        else:
            times += (f"{one.p99 / one.p50:.2f}",)
        direct_cpu = one.of(lambda window: window.direct_cpu) * 1000
        return (*head, *times, number(cpu), number(direct_cpu), f"{one.megabytes:.0f}", f"{core:.3f}", f"{others:.2f}")


@contextmanager
def direct_forward(workload: str, options: Options) -> Iterator[Child]:
    """The direct forward of a workload, loaded."""
    with Child("bench.runtime.direct", options.environment) as direct:
        direct.ask("load", workload=workload, folder=str(FOLDERS[workload]), seed=1)
        yield direct


def start(on: Stage, *, seed: int) -> None:
    """Until its first answer, which is checked."""
    server, kind = on.server, on.server.kind
    on.client.ask("target", **target(server, seed))
    told = on.client.ask("one", at_once=1)
    difference = on.direct.ask("check", pairs=told["pairs"])
    if difference > cell.TOLERANCES[server.workload]:
        raise RuntimeError(f"{kind.title}: its first answer differs from the direct forward's by {difference:.2g}")


def target(server: Server, seed: int) -> dict[str, Any]:
    """What the client is told of a server."""
    where = {"port": server.port, "folder": str(server.folder), "workload": server.workload}
    return {**where, "seed": seed, **server.kind.wire(server.workload)._asdict()}


def targets(workload: str, cells: Cells) -> list[Target]:
    """The issue's, of what was measured."""
    own = {callers: one for (name, callers, count), one in cells.items() if name == "slipway" and count == 1}
    if workload == "generation":
        return _generation_targets(own, cells)
    found = [
        Target(f"{callers} callers: share of the limit", own[callers].share, least=least)
        for callers, least in ((1, 0.9), (8, 0.8), (32, 0.85))
        if callers in own
    ]
    if 32 in own:
        found.append(Target("32 callers: p99/p50", own[32].p99 / own[32].p50, most=1.3))
    steps = sorted(own)
    found += [
        # The direct forward's windows before each tell how fast the machine was then.
        Target(f"{more} callers: rate by that of {fewer}", own[more].rate / own[fewer].rate, least=1.0)
        for fewer, more in pairwise(steps)
    ]
    return found


def _generation_targets(own: dict[int, Cell], cells: Cells) -> list[Target]:
    found = [
        Target(f"{callers} callers: share of generate()", own[callers].share, least=least)
        for callers, least in ((1, 0.95), (16, 0.85))
        if callers in own
    ]
    rival = cells.get(("serve-cb", 16, 1))
    if 16 in own and rival is not None:
        first, theirs = (one.of(lambda window: window.load.first_p50) for one in (own[16], rival))
        found.append(
            Target(
                "16 callers: first token by that of transformers serve --continuous-batching", first / theirs, most=0.8
            )
        )
    if 16 in own:
        found.append(Target("resident memory", own[16].megabytes, "MiB", most=1024))
    return found


_HOW = (
    "Closed loop, keep-alive. The direct forward's windows and the server's in turn; `share` is the median over the "
    "windows of their ratio. The limit for n callers is the direct forward over windows of n inputs in their order of "
    "arrival, sorted within the window, at the best batch size. `client` is the share of a core that the client took, "
    "`others` the largest share of the machine that others took in a window."
)
_SORTED = (
    "What bounds p99/p50: whoever is asked for in order of arrival waits for the 31 before, whose lengths add up to "
    "more for some than for others; sorting a window of them adds what the window takes. Simulated with the costs of "
    "forwards on such a machine and 8 % of noise, 32 callers: one by one 1.15 at 0.56 of the limit, windows of 5 1.36 "
    "at 0.87, of 8 1.39 at 0.94, a third of those who wait (as it is) 1.40 at 0.98, half of them 1.50 at 1.04. Windows "
    "that grow where much waits, and planning anew after each batch, were tried: at best 1.30 at 0.90. The server "
    "itself loses a tenth to the threads that take requests in, on two processors that the forward wants both."
)
CLASSIFICATION = Figure(
    "classification",
    "A. Classification: BERT, 6 layers, 384 wide, 4 labels, random weights",
    _HOW,
    _SORTED,
    Throughput("classification", (1, 8, 32, 64)),
)
EMBEDDINGS = Figure(
    "embeddings", "B. Embeddings: all-MiniLM-L6-v2", _HOW, "", Throughput("embeddings", (1, 8, 32, 64), (1, TEXTS))
)
GENERATION = Figure(
    "generation",
    f"C. Generation: Llama, 6 layers, 256 wide, random weights; prompts of 16 to 64 tokens, {NEW_TOKENS} new, greedy",
    _HOW,
    "",
    Throughput("generation", (1, 8, 16)),
)
