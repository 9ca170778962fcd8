"""The same server, forked from a process that has imported torch: 0.3 s of CPU a start instead of 4.

For tests of what a server answers. What is about starting itself (order of imports, thread variables, downloads, which
read their variables at import) starts a cold process: `serving(..., False)`.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = ["slipway_runtime.tasks.loading", "slipway_runtime.serve.process", "transformers.modeling_utils"]
PR_SET_PDEATHSIG = 1


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _serve(env: dict[str, str], log: str, prepare: Callable[[], None] | None) -> None:
    """In the child: become what `python -m slipway_runtime serve` is."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.clear()
    os.environ.update(env)
    from slipway_runtime.__main__ import main

    if prepare is not None:
        prepare()
    os._exit(main(["serve"]))


class WarmProcess:
    """The part of subprocess.Popen that tests use. `prepare`: a function of a module, called in the process first; it
    breaks what no test can break from outside, such as a forward."""

    def __init__(self, env: dict[str, str], log: Path, prepare: Callable[[], None] | None = None) -> None:
        self._process: BaseProcess = _forks().Process(target=_serve, args=(env, str(log), prepare))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("serve", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
