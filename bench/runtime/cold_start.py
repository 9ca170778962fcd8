"""D. From the start of a process to its first right answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median

from bench.runtime.cell import TOLERANCES
from bench.runtime.child import ROOT, Child
from bench.runtime.figure import Figure, Measured, Options, Table, Target, number
from bench.runtime.inputs import FOLDERS
from bench.runtime.servers import KINDS, OURS, Server
from bench.runtime.throughput import direct_forward, target

WORKLOAD = "classification"
ALONE = """
import torch
from transformers import BertForSequenceClassification
model = BertForSequenceClassification.from_pretrained({folder!r})
print("loaded", flush=True)
"""


def measure(options: Options) -> Measured:
    """Servers and the yardstick in turn; medians of the rounds, the first of which only fills caches."""
    kinds = [kind for kind in KINDS.values() if WORKLOAD in kind.workloads and options.wants(kind.name)]
    seconds: dict[str, list[float]] = defaultdict(list)
    megabytes: dict[str, list[float]] = defaultdict(list)
    with direct_forward(WORKLOAD, options) as direct, Child("bench.runtime.client") as client:
        for round_ in range(options.windows + 1):
            taken = {"alone": _alone()}
            for kind in kinds:
                with Server(kind, WORKLOAD, options) as server:
                    client.ask("target", **target(server, 1000 + round_))
                    told = client.ask("one")
                    taken[f"{kind.name} port"] = told["port"] - server.started
                    taken[f"{kind.name} answer"] = told["answer"] - server.started
                    megabytes[kind.name].append(server.megabytes())
                if direct.ask("check", pairs=told["pairs"]) > TOLERANCES[WORKLOAD]:
                    raise RuntimeError(f"{kind.title}: its first answer is wrong")
            if round_:
                for name, value in taken.items():
                    seconds[name].append(value)
    return _measured([kind.name for kind in kinds], seconds, megabytes)


def _measured(names: list[str], seconds: dict[str, list[float]], megabytes: dict[str, list[float]]) -> Measured:
    alone = median(seconds["alone"])
    head = ("what", "port answers s", "first right answer s", "by the yardstick", "resident then MiB")
    table = Table(
        "Processes", head, [("import torch, model class, from_pretrained alone", "–", number(alone), "1.00", "–")]
    )
    for name in names:
        port, answer = median(seconds[f"{name} port"]), median(seconds[f"{name} answer"])
        held = f"{median(megabytes[name]):.0f}"
        table.lines.append((KINDS[name].title, number(port), number(answer), f"{answer / alone:.2f}", held))
    targets = []
    if "slipway" in names:
        # Round by round, since the machine's other work comes and goes.
        ratio = median(a / b for a, b in zip(seconds["slipway answer"], seconds["alone"], strict=True))
        targets = [
            Target("the port answers", median(seconds["slipway port"]), "s", most=0.3),
            Target("first right answer by the yardstick", ratio, most=1.15),
        ]
    return Measured([table], targets)


def _alone() -> float:
    """Seconds from the start of a process until a model is loaded, and nothing else done."""
    began = time.time()
    with subprocess.Popen(
        [OURS, "-c", ALONE.format(folder=str(FOLDERS[WORKLOAD]))],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"loaded\n":
            raise RuntimeError(f"{sys.executable} could not load the model")
        taken = time.time() - began
        process.wait()
    return taken


FIGURE = Figure(
    "start",
    "D. Cold start, classification",
    "From the start of the process; medians of rounds, servers and yardstick in turn, page cache warm, "
    "bytecode present. The yardstick: one process imports torch and the model's class, and calls from_pretrained.",
    "",
    measure,
)
