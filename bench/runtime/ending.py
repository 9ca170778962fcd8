"""F. SIGTERM under load: who was asked before it is to be answered, who comes later to be told so."""

from __future__ import annotations

import time
from collections import Counter
from threading import Thread

from bench.runtime.cell import Stage
from bench.runtime.child import Child
from bench.runtime.figure import Figure, Measured, Options, Table, Target, number
from bench.runtime.servers import KINDS, Server
from bench.runtime.throughput import direct_forward, start

WORKLOAD = "classification"
CALLERS = 16


def measure(options: Options) -> Measured:
    table = Table("SIGTERM", ("server", "in flight", "sent later", "exit code", "exit s"))
    kinds = [kind for kind in KINDS.values() if WORKLOAD in kind.workloads and options.wants(kind.name)]
    lost, codes = 0, set()
    with direct_forward(WORKLOAD, options) as direct, Child("bench.runtime.client") as client:
        for kind in kinds:
            for seed in range(options.windows):
                with Server(kind, WORKLOAD, options) as server:
                    start(Stage(server, client, direct), seed=700 + seed)
                    client.ask("closed", callers=CALLERS, seconds=0.5)
                    server.note()
                    exited: list[float] = []
                    waiter = Thread(target=lambda s=server, e=exited: (s.process.wait(), e.append(time.time())))
                    waiter.start()
                    told = client.ask("ending", callers=CALLERS, pid=server.process.pid, before=1.0)
                    waiter.join(60)
                    code = server.process.returncode
                outcomes = Counter(told["outcomes"])
                words = (_told(outcomes, "in flight "), _told(outcomes, "later "))
                table.lines.append((kind.title, *words, str(code), number(exited[0] - told["signalled"])))
                if kind.ours:
                    lost += sum(count for what, count in outcomes.items() if what not in FINE)
                    codes.add(code)
    targets = []
    if codes:
        targets.append(Target("requests lost: reset, or with another status than 200", lost, most=0))
        targets.append(Target("exit code", max(codes, key=abs), most=0))
    return Measured([table], targets)


FINE = ("in flight answered", "later answered", "refused later")


def _told(outcomes: Counter[str], kind: str) -> str:
    found = [f"{count} {what.removeprefix(kind)}" for what, count in sorted(outcomes.items()) if what.startswith(kind)]
    if kind == "later ":
        found += [f"{count} {what}" for what, count in outcomes.items() if what in ("listens on",)]
    return ", ".join(found) or "none"


FIGURE = Figure(
    "end",
    "F. SIGTERM under 16 callers",
    f"{CALLERS} callers in a closed loop, SIGTERM after a second, several times each; until the port refuses "
    "connections, which all callers meet at the end. `reset`: the connection ended before an answer.",
    "",
    measure,
)
