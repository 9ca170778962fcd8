"""How long the operator's process takes before its own first line."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import NamedTuple

from bench.operator.figure import Figure, Row
from tests.support.apiserver import ROOT

ROUNDS = 15
MODULES = {
    "bare": "sys",
    "kopf": "kopf",
    "operator": "slipway_operator.__main__, slipway_operator.handlers.operator",
}
CODE = """
import sys, time
wall, cpu = time.perf_counter(), time.process_time()
import {modules}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


class Taken(NamedTuple):
    """Seconds."""

    process: float
    wall: float
    cpu: float


def measure() -> list[Row]:
    for modules in MODULES.values():
        _import(modules)  # writes the bytecode
    rounds = [{name: _import(modules) for name, modules in MODULES.items()} for _ in range(ROUNDS)]
    bare, kopf, operator = (
        Taken(*(statistics.median(values) for values in zip(*(one[name] for one in rounds), strict=True)))
        for name in MODULES
    )
    return [
        Row("import of all that `run` imports", operator.wall, "s", "`import kopf`", kopf.wall, below=0.6),
        Row("CPU of it, user and system", operator.cpu, "s", "`import kopf`", kopf.cpu),
        Row("process, start to end", operator.process, "s", "python that does nothing", bare.process),
    ]


def _import(modules: str) -> Taken:
    began = time.perf_counter()
    command = [sys.executable, "-c", CODE.format(modules=modules)]
    said = subprocess.run(command, check=True, cwd=ROOT, text=True, capture_output=True).stdout.split()
    return Taken(time.perf_counter() - began, float(said[0]), float(said[1]))


FIGURE = Figure(
    name="import",
    title="Import time",
    how=f"Median of {ROUNDS} processes each, in turn, bytecode present.",
    limits="kopf and what it pulls in are nine tenths: aiohttp, and of kubernetes its synchronous half (requests, "
    "urllib3, pydantic) that nobody here calls.",
    better="kubernetes/__init__.py imports that half whatever is asked of it (up to 0.18 s by -X importtime); a "
    "release that loads it late, or a kubeconfig reader of our own, would save it.",
    measure=measure,
)
