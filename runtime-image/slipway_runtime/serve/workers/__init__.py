"""Several server processes on one port with one copy of the weights: SLIPWAY_WORKERS (operator/decisions/0013).

    supervisor.py   opens the ports, forks the workers, ends when they have ended. Answers on the admin port
    pod.py          its answers there: what the workers answer on theirs, as one
    answers.py      several answers → one. Pure

A worker is process.py's server on the inherited port, with an admin port on loopback. What it shares with the others:
edge/accepting.py the connections, tasks/sharing.py the weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from slipway_runtime.serve.process import open_ports, serve


def run(env: Mapping[str, str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit code, unless the process has ended itself."""
    opened = open_ports(os.environ if env is None else env)
    if isinstance(opened, int):
        return opened
    if opened.settings.workers == 1 or opened.fault is not None:
        serve(opened)
    from slipway_runtime.serve.workers.supervisor import supervise  # noqa: PLC0415 - one worker does without

    return supervise(opened)
