"""The figures for the terminal, and as RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bench.machine import machine
from bench.runtime.figure import Figure, Measured, Target, number
from bench.table import markdown


@dataclass(frozen=True)
class Surroundings:
    """Where and how it was measured."""

    command: str
    began: datetime
    minutes: float
    versions: str
    gpu: str
    others: float
    """Share of the machine that others took over the whole run."""
    variables: Mapping[str, str]


def terminal(figure: Figure, measured: Measured) -> list[str]:
    """Tables and targets, without the texts."""
    lines = [figure.title]
    for table in measured.tables:
        lines += ["", *markdown(table.head, table.lines)]
    if measured.targets:
        lines += ["", *_targets(measured.targets)]
    return [*lines, "", *measured.notes]


def results(measured: list[tuple[Figure, Measured]], around: Surroundings) -> str:
    """RESULTS.md."""
    targets = [target for _, one in measured for target in one.targets]
    missed = [target for target in targets if not target.met]
    verdict = f"{len(missed)} of {len(targets)} targets are missed" if missed else f"All {len(targets)} targets are met"
    lines = [
        "# The runtime's figures",
        "",
        f"Written by `{around.command}`, begun {around.began:%Y-%m-%d %H:%M} UTC, {around.minutes:.0f} minutes. "
        f"{verdict}. Ratios are by yardsticks of the same run; compare them, not the seconds.",
        "",
        f"Machine: {machine()}. {around.versions}; Slipway's settings: "
        f"{', '.join(f'{name}={value}' for name, value in around.variables.items()) or 'its defaults'}. "
        f"Others took {around.others:.2f} of the processor over the run; each line says how much in its own windows. "
        f"{around.gpu or 'No GPU was at hand: there are no GPU lines.'}",
    ]
    for figure, one in measured:
        lines += ["", f"## {figure.title} (`ONLY={figure.name}`)", "", figure.how]
        for table in one.tables:
            lines += ["", *markdown(table.head, table.lines)]
        if one.targets:
            lines += ["", *_targets(one.targets)]
        lines += ["", *one.notes, figure.bounds] if figure.bounds or one.notes else []
    return "\n".join(lines).rstrip() + "\n"


def _targets(targets: list[Target]) -> list[str]:
    rows = [(one.what, f"{number(one.value)} {one.unit}".strip(), one.bound, one.verdict) for one in targets]
    return markdown(("target", "reached", "bound", "verdict"), rows)
