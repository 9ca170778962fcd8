"""A real server process: `python -m slipway_runtime serve` on free loopback ports, in an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import eventually
from tests.support.warm_process import WarmProcess

READY_SECONDS = 240.0  # importing torch on two cores that others use, too


@dataclass
class RuntimeServer:
    """One process, its two addresses and its log."""

    process: subprocess.Popen[bytes] | WarmProcess
    http_port: int
    admin_port: int
    log: Path
    started: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self.admin}/status", timeout=10).json()
        return answer

    def probe(self, name: str) -> int:
        return httpx.get(f"{self.admin}/{name}", timeout=10).status_code

    def metrics(self) -> str:
        return httpx.get(f"{self.admin}/metrics", timeout=10).text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 where there is none yet."""
        samples = [s for family in text_string_to_metric_families(self.metrics()) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def post(self, body: object, path: str = "/", **kwargs: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=120, **kwargs)

    def lines(self) -> list[dict[str, Any]]:
        """The log, each line as JSON: a line that is not JSON fails here."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.strip()]

    def workers(self) -> list[int]:
        """The processes of several workers, in the order of their numbers."""
        started = eventually(lambda: [line for line in self.lines() if line["message"] == "workers were started"])
        pids: list[int] = started[0]["pids"]
        return pids

    def wait_for_port(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()}"
            return httpx.get(f"{self.admin}/startupz", timeout=5).status_code == 200

        eventually(answers, timeout=READY_SECONDS, interval=0.02, retry=(AssertionError, httpx.TransportError))

    def wait_for_stage(self, stage: str, timeout: float = READY_SECONDS) -> dict[str, Any]:
        def reached() -> dict[str, Any]:
            status = self.status()
            assert status["stage"] == stage, status
            return status

        return eventually(reached, timeout=timeout, retry=(AssertionError, httpx.TransportError))

    def wait_for_fault(self, reason: str, timeout: float = READY_SECONDS) -> dict[str, Any]:
        """The `error` of /status once it has this reason."""

        def seen() -> dict[str, Any]:
            status = self.status()
            assert status["error"] is not None, status
            assert status["error"]["reason"] == reason, status
            error: dict[str, Any] = status["error"]
            return error

        return eventually(seen, timeout=timeout)

    def terminate(self, timeout: float = 60.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def serving(
    folder: Path, warm: bool = False, prepare: Callable[[], None] | None = None, /, **variables: str
) -> Iterator[RuntimeServer]:
    """Start with `variables` over defaults that suit tests; end it afterwards. Its cache and log lie in `folder`.

    `warm`: forked from a process that has imported torch, see warm_process.py; `prepare` too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, admin_port = free_ports(2)
    log = folder / "server.log"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",  # as in a pod: nothing may be written there
        "PYTHONWARNINGS": "error::ResourceWarning",
        "SLIPWAY_HOST": "127.0.0.1",
        "SLIPWAY_HTTP_PORT": str(http_port),
        "SLIPWAY_ADMIN_PORT": str(admin_port),
        "SLIPWAY_CACHE_DIR": str(folder / "cache"),
        "SLIPWAY_TERMINATION_LOG": str(folder / "termination"),
        "SLIPWAY_UNREADY_SECONDS": "0.3",
        "SLIPWAY_RETRY_SECONDS": "0.2",
        "SLIPWAY_RETRY_MAX_SECONDS": "0.5",
    } | variables
    process = WarmProcess(env, log, prepare) if warm else _cold(env, log)
    server = RuntimeServer(process, http_port, admin_port, log, time.monotonic())
    try:
        server.wait_for_port()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def _cold(env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            # Ends with the tests, also when they are killed.
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "slipway_runtime", "serve"],
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
