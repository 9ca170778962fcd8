"""The figures as a table for the terminal and as RESULTS.md."""

from __future__ import annotations

from datetime import date

from bench.machine import machine
from bench.operator.figure import Figure, Row
from bench.table import markdown

Measured = tuple[Figure, list[Row]]
HEAD = ("what", "value", "yardstick", "its value", "ratio", "bound")


def table(rows: list[Row]) -> list[str]:
    """Lines of a Markdown table, padded so that it can be read as it is."""
    return markdown(HEAD, [_cells(row) for row in rows])


def results(measured: list[Measured], *, command: str, today: date, load: float) -> str:
    kept = [row for _, rows in measured for row in rows if row.holds is not None]
    broken = [row for row in kept if not row.holds]
    verdict = f"{len(broken)} of {len(kept)} bounds do not hold" if broken else f"All {len(kept)} bounds hold"
    lines = [
        "# The operator's figures",
        "",
        f"Written by `{command}` on {today.isoformat()}. {verdict}. Ratios are value by yardstick, both of the same "
        "run; compare them, not the seconds.",
        "",
        f"Machine: {machine()}; load average at the start {load:.1f}. The API server is a real kube-apiserver with a "
        "real etcd (no fsync) on the same cores, with TLS, RBAC as the chart grants it, and an audit log.",
    ]
    for figure, rows in measured:
        lines += ["", f"## {figure.title} (`ONLY={figure.name}`)", "", figure.how, "", *table(rows), ""]
        lines += [f"Limited by: {figure.limits}", f"Would improve it: {figure.better}"]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    bound = f"< {row.below:g}" if row.below is not None else f"≤ {row.most:g}" if row.most is not None else ""
    verdict = "" if row.holds is None else f"{bound}: {'holds' if row.holds else 'BROKEN'}"
    against = "" if row.against is None else _number(row.against, row.unit)
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return row.what, _number(row.value, row.unit), row.yardstick, against, ratio, verdict


def _number(value: float, unit: str) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".strip()
