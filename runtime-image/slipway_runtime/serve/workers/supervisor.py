"""The process above the workers: imports no model, serves no request.

1. open a loopback port for each worker's admin routes, and what they share
2. fork them, before there is a thread or an event loop; each becomes an ordinary server
3. answer for all of them on the admin port
4. SIGTERM: hand it on, and wait until all have drained. A second one likewise: they end now

A worker that ends by itself (killed, out of memory, a crash in a library) ends the pod: the others drain, the exit is
1, and the kubelet starts a new one. It is what happens to a server of one process, it is seen and counted where people
look, with a delay that grows where it happens again, and the kernel does the same: where a container runs out of memory
Kubernetes has all of its processes killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

import uvloop

from slipway_runtime.serve import process
from slipway_runtime.serve.edge.accepting import Turns
from slipway_runtime.serve.edge.connection import ConnectionLimits
from slipway_runtime.serve.edge.draining import LAST_SECONDS, SETTLE_SECONDS, TELL_SECONDS
from slipway_runtime.serve.edge.listening import Server, listen
from slipway_runtime.serve.observe.logs import event, lines
from slipway_runtime.serve.process import LOG_SECONDS, TRACE_SECONDS, Opened, Worker
from slipway_runtime.serve.workers import pod

_PR_SET_PDEATHSIG = 1
# What a drain takes beside the times that are set, and as long again for a machine that is busy.
_MARGIN_SECONDS = 2 * (SETTLE_SECONDS + LAST_SECONDS + TELL_SECONDS + LOG_SECONDS + TRACE_SECONDS)


def supervise(opened: Opened) -> int:
    """Until all workers have ended; returns the exit code."""
    count = opened.settings.workers
    admins = [listen("127.0.0.1", 0) for _ in range(count)]
    turns, weights = Turns(count), os.memfd_create("weights")
    context = multiprocessing.get_context("fork")
    workers: list[BaseProcess] = []
    lines.several = True  # theirs, too: they are copies
    for number in range(count):
        worker = Worker(number, turns, weights)
        workers.append(context.Process(target=_work, args=(opened, admins, worker), name=f"worker {number}"))
        workers[-1].start()
    ports = [own.getsockname()[1] for own in admins]
    for theirs in (opened.http, *admins):
        theirs.close()
    os.close(weights)
    event("workers were started", pids=[worker.pid for worker in workers])
    return uvloop.run(Supervisor(opened, workers, ports).run())


def _work(opened: Opened, admins: Sequence[socket.socket], worker: Worker) -> None:
    """In the child: never returns."""
    os.setsid()  # Ctrl-C is for the process above, which hands it on
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    opened.admin.close()
    for number, one in enumerate(admins):
        if number != worker.number:
            one.close()
    process.serve(Opened(opened.settings, opened.fault, opened.http, admins[worker.number]), worker)


class Supervisor:
    """The event loop above running workers."""

    def __init__(self, opened: Opened, workers: Sequence[BaseProcess], ports: Sequence[int]) -> None:
        self._settings = opened.settings
        self._admin = opened.admin
        self._workers = workers
        self._ports = ports
        self._asked = asyncio.Event()
        self._one_ended = asyncio.Event()
        self._all_ended = asyncio.Event()

    async def run(self) -> int:
        """Returns the exit code."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            loop.add_reader(worker.sentinel, self._ended, worker)
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop)
        limits = ConnectionLimits.of(self._settings, lambda _: None)
        probes = Server(pod.build(self._ports, self._stopping), drain_seconds=1, limits=limits)
        answering = asyncio.create_task(probes.serve([self._admin]))
        asked, ended = (asyncio.create_task(one.wait()) for one in (self._asked, self._one_ended))
        await asyncio.wait((asked, ended, answering), return_when=asyncio.FIRST_COMPLETED)
        died = None if self._asked.is_set() else self._died()
        if not self._asked.is_set():
            event("the others drain", level=logging.ERROR, detail=died)
            self._tell(signal.SIGTERM)
        await self._wait_for_all()
        probes.should_exit = True
        await asyncio.wait((answering,))
        return self._exit_code(died)

    def _stopping(self) -> bool:
        return self._asked.is_set() or self._one_ended.is_set()

    def _stop(self) -> None:
        self._asked.set()
        self._tell(signal.SIGTERM)

    def _ended(self, worker: BaseProcess) -> None:
        asyncio.get_running_loop().remove_reader(worker.sentinel)
        worker.join()
        self._one_ended.set()
        if not any(one.is_alive() for one in self._workers):
            self._all_ended.set()

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, number)

    async def _wait_for_all(self) -> None:
        """A worker that does not end by itself is killed."""
        settings = self._settings
        most = settings.unready_seconds + settings.drain_seconds + _MARGIN_SECONDS
        try:
            async with asyncio.timeout(most):
                await self._all_ended.wait()
        except TimeoutError:
            event("workers do not end", level=logging.ERROR, seconds=most)
            self._tell(signal.SIGKILL)
            await self._all_ended.wait()

    def _died(self) -> str:
        """What is known of the worker that ended by itself, or not as it should."""
        ended = [(one.exitcode, number) for number, one in enumerate(self._workers) if one.exitcode is not None]
        if not ended:
            return "the admin port has stopped answering"
        code, number = next((one for one in ended if one[0]), ended[0])
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"worker {number} of {len(self._workers)} {how}; its log says more where it could"

    def _exit_code(self, died: str | None) -> int:
        if died is None and all(worker.exitcode == 0 for worker in self._workers):
            event("all workers have stopped")
            lines.flush(LOG_SECONDS)
            return 0
        return process.last_word(self._settings, 1, "InternalError", died or self._died())
