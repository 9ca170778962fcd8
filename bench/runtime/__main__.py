"""`make bench-runtime`: every figure of the runtime, each beside yardsticks of the same run.

All of them take about 45 minutes and are written to RESULTS.md; single ones are printed only. Exit code 1 when a target
of the issue is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import busy, cpu_of
from bench.runtime import cold_start, ending, overload, report, throughput
from bench.runtime.child import ROOT, Child
from bench.runtime.figure import Figure, Measured, Options
from bench.runtime.inputs import FOLDERS, made
from bench.runtime.servers import KINDS

RESULTS = Path(__file__).parent / "RESULTS.md"
FIGURES = {
    figure.name: figure
    for figure in (
        throughput.CLASSIFICATION,
        throughput.EMBEDDINGS,
        throughput.GENERATION,
        cold_start.FIGURE,
        overload.FIGURE,
        ending.FIGURE,
    )
}


def main() -> int:
    names, options = _arguments()
    if not made():
        subprocess.run([sys.executable, "-m", "bench.runtime.models"], cwd=ROOT, check=True)
    began, clock, marks = datetime.now(UTC), time.perf_counter(), (busy(), _own())
    measured: list[tuple[Figure, Measured]] = []
    failed: list[str] = []
    for figure in (figure for name, figure in FIGURES.items() if name in names or not names):
        print(f"{figure.title} …", file=sys.stderr, flush=True)
        try:
            found = figure.measure(options)
        except Exception:
            # The other figures are printed all the same; the run fails, and RESULTS.md stays as it is.
            traceback.print_exc()
            failed.append(figure.name)
            continue
        measured.append((figure, found))
        print("", *report.terminal(figure, found), sep="\n", flush=True)
    seconds = time.perf_counter() - clock
    others = (busy() - marks[0] - (_own() - marks[1])) / seconds / (os.cpu_count() or 1)
    print(f"{seconds:.0f} s; others took {max(0.0, others):.2f} of the processor")
    if not names and not failed and options == Options():
        versions, gpu = _versions()
        around = report.Surroundings(
            "make bench-runtime", began, seconds / 60, versions, gpu, max(0.0, others), options.variables
        )
        RESULTS.write_text(report.results(measured, around))
        print(f"written to {RESULTS.relative_to(ROOT)}")
    if failed:
        print(f"NOT MEASURED: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed or any(not target.met for _, one in measured for target in one.targets) else 0


def _arguments() -> tuple[list[str], Options]:
    parser = argparse.ArgumentParser(prog="bench.runtime", description="Measures the runtime against yardsticks.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"all by default: {', '.join(FIGURES)}")
    parser.add_argument("--only", default="", help=f"servers, with commas: direct, {', '.join(KINDS)}")
    parser.add_argument("--callers", default="", help="numbers of callers, with commas")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="of a window")
    parser.add_argument("--windows", type=int, default=Options.windows)
    parser.add_argument("--threads", type=int, default=Options.threads, help="of every forward; 0: each one's choice")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of Slipway's")
    given = parser.parse_args()
    only = tuple(filter(None, given.only.split(",")))
    if unknown := sorted(set(given.figures) - set(FIGURES)):
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    if unknown := sorted(set(only) - set(KINDS) - {"direct"}):
        parser.error(f"no such server: {', '.join(unknown)}; there are direct, {', '.join(KINDS)}")
    callers = tuple(int(one) for one in given.callers.split(",") if one)
    variables = dict(one.split("=", 1) for one in given.set)
    return given.figures, Options(only, callers, given.seconds, given.windows, variables, given.threads)


def _own() -> float:
    """CPU of this process and of all that it has started and waited for."""
    return cpu_of([os.getpid()]) + sum(os.times()[2:4])


def _versions() -> tuple[str, str]:
    with Child("bench.runtime.direct") as direct:
        told = direct.ask("load", workload="classification", folder=str(FOLDERS["classification"]), seed=1)
    ours = (ROOT / ".venv/bench/lib").glob("python*/site-packages/*.dist-info")
    named = {path.name.partition("-")[0]: path.name.split("-")[1].removesuffix(".dist") for path in ours}
    theirs = ", ".join(f"{name} {named.get(name, '?')}" for name in ("litserve", "fastapi", "uvicorn"))
    gpu = f"GPU: {told['gpu']}." if told["gpu"] else ""
    return f"{told['versions']}, {told['threads']} threads; {theirs}", gpu


if __name__ == "__main__":
    sys.exit(main())
