"""E. Three times the capacity, in an open loop: arrivals at random moments, whatever becomes of those before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.runtime.cell import Stage
from bench.runtime.child import Child
from bench.runtime.figure import Figure, Measured, Options, Table, Target, number
from bench.runtime.servers import SLIPWAY, Server
from bench.runtime.throughput import direct_forward, start

WORKLOAD = "classification"
SECONDS = 20.0
TIMES = 3.0
SHORT = {"SLIPWAY_MAX_QUEUE_SECONDS": "0.1"}
"""For whoever would rather be refused than wait; by default up to 10 s are waited for."""


def measure(options: Options) -> Measured:
    with direct_forward(WORKLOAD, options) as direct:
        patient = _overload(direct, options, None)
        quick = _overload(direct, replace(options, variables={**SHORT, **options.variables}), patient.capacity)
    named = {"by default": patient, ", ".join(f"{name}={value}" for name, value in SHORT.items()): quick}
    rows: list[Sequence[str]] = [
        (what, *values) for what, *values in zip(_WHAT, *(one.lines for one in named.values()), strict=True)
    ]
    targets = []
    for name, one in named.items():
        slowest = one.refused["p99"] * 1000 if one.refused else float("inf")
        targets += [
            Target(f"{name}: p99 of refusals", slowest, "ms", most=50),
            Target(f"{name}: p99 of accepted by the unloaded one", one.later, most=2),
            Target(f"{name}: answers with 5xx, or none", one.faults, most=0),
            Target(f"{name}: resident peak by before", one.peak / one.before, most=1.1),
        ]
    return Measured([Table("Slipway", ("what", *named), rows)], targets)


_WHAT = (
    "p50 and p99 at half the capacity, open loop (unloaded)",
    f"arrivals at {TIMES:g} times the capacity for {SECONDS:g} s",
    "answered with 200",
    "p50 and p99 of those",
    "p50 and p99 of refusals",
    "statuses",
    "Retry-After of refusals",
    "resident before, peak, after MiB",
    "rate afterwards, 8 callers in a closed loop",
    "answers under load differ from the direct forward's by",
    "share of a core that the client took",
)


@dataclass(frozen=True)
class _Found:
    """Of one server. Bytes are MiB, times seconds."""

    capacity: float
    refused: dict[str, float] | None
    faults: int
    before: float
    peak: float
    later: float
    """p99 of what was accepted, by the p99 unloaded."""
    lines: Sequence[str]


def _overload(direct: Child, options: Options, capacity: float | None) -> _Found:
    """`capacity`: inputs per second; None: what 32 callers reach here."""
    with Server(SLIPWAY, WORKLOAD, options) as server, Child("bench.runtime.client") as client:
        start(Stage(server, client, direct), seed=500)
        client.ask("closed", callers=8, seconds=options.seconds)  # it learns what forwards cost
        if capacity is None:
            capacity = float(client.ask("closed", callers=32, seconds=options.seconds)["load"]["rate"])
        calm = client.ask("arrivals", rate=capacity / 2, seconds=10.0)["load"]
        before = server.megabytes()
        storm = client.ask("arrivals", rate=TIMES * capacity, seconds=SECONDS)
        peak = server.megabytes("VmHWM")
        difference = direct.ask("check", pairs=storm["pairs"])
        again = client.ask("closed", callers=8, seconds=options.seconds)["load"]["rate"]
        after = server.megabytes()
    load, refused = storm["load"], storm["refused"]
    lines = (
        _milliseconds(calm),
        f"{number(TIMES * capacity)}/s",
        f"{number(load['rate'])}/s",
        _milliseconds(load),
        _milliseconds(refused) if refused else "none was refused",
        ", ".join(f"{status}: {count}" for status, count in sorted(storm["statuses"].items())),
        ", ".join(storm["retry_after"]) or "–",
        f"{before:.0f}, {peak:.0f}, {after:.0f}",
        f"{number(again)}/s",
        f"{difference:.1g}",
        f"{storm['core']:.2f}",
    )
    faults = sum(count for status, count in storm["statuses"].items() if status == "0" or status >= "5")
    return _Found(capacity, refused, faults, before, peak, load["p99"] / calm["p99"], lines)


def _milliseconds(times: dict[str, float]) -> str:
    return f"{number(times['p50'] * 1000)} / {number(times['p99'] * 1000)} ms"


FIGURE = Figure(
    "overload",
    "E. Overload, classification",
    f"Poisson arrivals at {TIMES:g} times the rate that 32 callers reach, {SECONDS:g} s, after 10 s at half of it. No "
    "server that is compared here refuses anything: what comes in waits, without bound (reference, 256 callers).",
    "",
    measure,
)
