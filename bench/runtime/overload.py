"""E. Three times the capacity, in an open loop: arrivals at random moments, whatever becomes of those before."""

from __future__ import annotations

from collections.abc import Sequence

from bench.runtime.cell import Stage
from bench.runtime.child import Child
from bench.runtime.figure import Figure, Measured, Options, Table, Target, number
from bench.runtime.servers import SLIPWAY, Server
from bench.runtime.throughput import direct_forward, start

WORKLOAD = "classification"
SECONDS = 20.0
TIMES = 3.0


def measure(options: Options) -> Measured:
    with (
        direct_forward(WORKLOAD, options) as direct,
        Server(SLIPWAY, WORKLOAD, options) as server,
        Child("bench.runtime.client") as client,
    ):
        start(Stage(server, client, direct), seed=500)
        capacity = client.ask("closed", callers=32, seconds=options.seconds)["load"]["rate"]
        calm = client.ask("arrivals", rate=capacity / 2, seconds=10.0)
        before = server.megabytes()
        storm = client.ask("arrivals", rate=TIMES * capacity, seconds=SECONDS)
        peak = server.megabytes("VmHWM")
        difference = direct.ask("check", pairs=storm["pairs"])
        again = client.ask("closed", callers=32, seconds=options.seconds)["load"]["rate"]
        after = server.megabytes()
    faults = sum(count for status, count in storm["statuses"].items() if status == "0" or status >= "5")
    load, refused = storm["load"], storm["refused"]
    lines: list[Sequence[str]] = [
        ("capacity, 32 callers in a closed loop", f"{number(capacity)}/s"),
        ("p50 and p99 at half of it, open loop (unloaded)", _milliseconds(calm["load"])),
        (f"arrivals at {TIMES:g} times of it for {SECONDS:g} s", f"{number(TIMES * capacity)}/s"),
        ("answered with 200", f"{number(load['rate'])}/s"),
        ("p50 and p99 of those", _milliseconds(load)),
        ("p50 and p99 of refusals", _milliseconds(refused) if refused else "none was refused"),
        ("statuses", ", ".join(f"{status}: {count}" for status, count in sorted(storm["statuses"].items()))),
        ("Retry-After of refusals", ", ".join(storm["retry_after"]) or "–"),
        ("resident before, peak, after MiB", f"{before:.0f}, {peak:.0f}, {after:.0f}"),
        ("rate afterwards, 32 callers in a closed loop", f"{number(again)}/s"),
        ("answers under load differ from the direct forward's by", f"{difference:.1g}"),
        ("share of a core that the client took", f"{storm['core']:.2f}"),
    ]
    targets = [
        Target("p99 of refusals", refused["p99"] * 1000 if refused else float("inf"), "ms", most=50),
        Target("p99 of accepted by the unloaded one", load["p99"] / calm["load"]["p99"], most=2),
        Target("answers with 5xx, or none", faults, most=0),
        Target("resident peak by before", peak / before, most=1.1),
    ]
    return Measured([Table("Slipway", ("what", "value"), lines)], targets)


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
