"""A restart of the operator where nothing is to be done."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from bench.machine import cpu
from bench.operator.figure import Figure, Row
from bench.operator.process import Measured
from bench.operator.world import KOPF_USER, World, world, writes
from tests.support.waiting import eventually

SIZES, ROUNDS = (100, 1000), 3


class Restart(NamedTuple):
    """Seconds, and counts of requests by verb."""

    ready: float
    done: float
    cpu: float
    writes: int
    requests: Counter[str]


class Bare(NamedTuple):
    seen: float
    cpu: float
    requests: int


def measure() -> list[Row]:
    rows: list[Row] = []
    with world() as here:
        operator = here.operator()
        for size in SIZES:
            here.grow(size, operator)
            rounds = [(_restart(here, operator, size), _bare(here, size)) for _ in range(ROUNDS)]
            rows += _rows(size, [restart for restart, _ in rounds], [bare for _, bare in rounds])
    return rows


def _restart(here: World, operator: Measured, size: int) -> Restart:
    operator.stop()
    mark = len(here.requests())
    began = time.perf_counter()
    operator.start(wait=False)
    eventually(operator.is_ready, timeout=60, interval=0.01)
    ready = time.perf_counter() - began
    # Each key is in line once when leading begins. Not asked more often: an answer of /metrics costs it 10 ms.
    eventually(lambda: operator.reconciles >= size and operator.waiting == 0, timeout=120, interval=0.1)
    done, used = time.perf_counter() - began, cpu(operator.pid)
    operator.settle()
    requests = here.requests()[mark:]
    return Restart(ready, done, used, len(writes(requests)), Counter(one["verb"] for one in requests))


def _bare(here: World, size: int) -> Bare:
    mark = len(here.requests(KOPF_USER))
    with here.bare_kopf(size) as (kopf, seen):
        used = cpu(kopf.pid)
    return Bare(seen, used, len(here.requests(KOPF_USER)) - mark)


def _rows(size: int, restarts: list[Restart], bares: list[Bare]) -> list[Row]:
    ready, done, seen = (
        statistics.median(values)
        for values in (
            [one.ready for one in restarts],
            [one.done for one in restarts],
            [one.seen for one in bares],
        )
    )
    verbs, written = restarts[-1].requests, sum(one.writes for one in restarts)
    of, bare = f"{size} endpoints: ", "bare kopf that has seen them"
    return [
        Row(f"{of}writes of objects, all rounds", written, "", "objects there", size * 5, most=0),
        Row(f"{of}process started to /readyz", ready, "s", bare, seen),
        Row(f"{of}to every key reconciled", done, "s", bare, seen),
        Row(f"{of}CPU until then", _cpu(restarts), "s", bare, _cpu(bares)),
        Row(f"{of}requests, {_listed(verbs)}", verbs.total(), "", bare, bares[-1].requests),
    ]


def _cpu(rounds: Iterable[Restart | Bare]) -> float:
    return statistics.median(one.cpu for one in rounds)


def _listed(verbs: Counter[str]) -> str:
    return ", ".join(f"{count} {verb}" for verb, count in verbs.most_common())


FIGURE = Figure(
    name="restart",
    title="Restart with endpoints present",
    how=f"SIGTERM, then a new process, {ROUNDS} times, medians; the writes are those of the audit log until it is "
    "quiet again. Every key reconciled is read from /metrics every 0.1 s.",
    limits="The import, then decoding one list of each of seven kinds, then the comparison of each key; all on one "
    "core, which the API server and etcd share here.",
    better="Python's garbage collector walks the growing caches again and again: gc.set_threshold(20000, 20, 50) "
    "at the start was tried, and with 1000 endpoints took a quarter off the CPU. Next, a cheaper comparison "
    "(`unchanged`).",
    measure=measure,
)
