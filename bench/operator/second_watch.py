"""What an event of a ModelEndpoint costs, and what it would with kopf's own watch beside our reflector's."""

from __future__ import annotations

import statistics

from bench.machine import cpu
from bench.operator.api import MERGE, Request, send
from bench.operator.figure import Figure, Row
from bench.operator.process import OPERATOR_COMMAND, Measured
from bench.operator.world import ENDPOINTS, World, world

SIZE, EVENTS, ROUNDS = 50, 1000, 3
TWO_WATCHES = ("-m", "bench.operator.yardsticks.two_watches")


def measure() -> list[Row]:
    taken: dict[tuple[str, ...], list[float]] = {OPERATOR_COMMAND: [], TWO_WATCHES: []}
    looks: dict[tuple[str, ...], list[float]] = {OPERATOR_COMMAND: [], TWO_WATCHES: []}
    with world() as here:
        first = here.operator(name="first")
        here.grow(SIZE, first)
        first.stop()
        for number in range(ROUNDS):
            for command, used_each in taken.items():
                operator = here.operator(name=f"round-{number}-{command[1]}", command=command)
                operator.settle()
                used, reconciles = _storm(here, operator, number)
                used_each.append(used / EVENTS * 1000)
                looks[command].append(reconciles / EVENTS)
                operator.stop()
    own, both = (statistics.median(values) for values in taken.values())
    own_looks, both_looks = (statistics.median(values) for values in looks.values())
    name = "the operator with kopf's watch, too"
    return [
        Row("CPU per event of a ModelEndpoint", own, "ms", name, both),
        Row("reconciles per event", own_looks, "", name, both_looks),
    ]


def _storm(here: World, operator: Measured, number: int) -> tuple[float, int]:
    """CPU seconds and reconciles for EVENTS changes of an annotation: nothing to apply, no status to write."""
    before, reconciled = cpu(operator.pid), operator.reconciles
    patches = []
    for event in range(EVENTS):
        # Counted per operator, so that no patch repeats what is there: the API server makes no event of that.
        value = f"{operator.name}-{number}-{event}"
        body = {"metadata": {"annotations": {"example.com/bench": value}}}
        patches.append(Request("PATCH", f"{ENDPOINTS}/e-{event % SIZE:05}", body, MERGE))
    send(here.cluster, patches)
    operator.settle()
    return cpu(operator.pid) - before, operator.reconciles - reconciled


FIGURE = Figure(
    name="second-watch",
    title="An event, with and without kopf's watch",
    how=f"{EVENTS} changes of an annotation over {SIZE} endpoints, 16 at a time; median of {ROUNDS} rounds each, in "
    "turn. The settling and its look at /metrics are in both.",
    limits="One reconcile per event. kopf's watch, which the operator does without (decisions/0008-kopf.md), comes "
    "later than the reflector's, so that it caused a second reconcile, and copies every object for its diff base.",
    better="The comparison of fields, as in `unchanged`.",
    measure=measure,
)
