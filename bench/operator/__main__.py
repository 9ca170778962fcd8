"""`make bench`: every figure of the operator, each beside a yardstick of the same run.

All of them take about five minutes and are written to RESULTS.md; single ones (`make bench ONLY=restart`) are printed
only. Exit code 1 when a bound of the issue does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench.operator import burst, import_time, memory, pause, report, restart, second_watch, unchanged, writes

RESULTS = Path(__file__).parent / "RESULTS.md"
FIGURES = {
    module.FIGURE.name: module.FIGURE
    for module in (import_time, memory, writes, restart, pause, burst, unchanged, second_watch)
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.operator", description="Measures the operator against yardsticks.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"all by default: {', '.join(FIGURES)}")
    names = parser.parse_args().figures
    if unknown := sorted(set(names) - set(FIGURES)):
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    load = os.getloadavg()[0]
    measured: list[report.Measured] = []
    failed: list[str] = []
    chosen = [figure for name, figure in FIGURES.items() if name in names or not names]
    for number, figure in enumerate(chosen, start=1):
        began = time.perf_counter()
        print(f"[{number}/{len(chosen)}] {figure.title} …", file=sys.stderr, flush=True)
        try:
            rows = figure.measure()
        except Exception:
            # The other figures are printed all the same; the run fails, and RESULTS.md stays as it is.
            traceback.print_exc()
            failed.append(figure.name)
            continue
        measured.append((figure, rows))
        print(f"\n{figure.title}  ({time.perf_counter() - began:.0f} s)", *report.table(rows), "", sep="\n", flush=True)
    if not names and not failed:
        today = datetime.now(UTC).date()
        RESULTS.write_text(report.results(measured, command="make bench", today=today, load=load))
        print(f"written to {RESULTS.relative_to(Path.cwd())}")
    broken = [(figure, row) for figure, rows in measured for row in rows if row.holds is False]
    for figure, row in broken:
        print(f"BROKEN: {figure.title}: {row.what}: {row.value:.3g} {row.unit}", file=sys.stderr)
    if failed:
        print(f"NOT MEASURED: {', '.join(failed)}", file=sys.stderr)
    return 1 if broken or failed else 0


if __name__ == "__main__":
    sys.exit(main())
