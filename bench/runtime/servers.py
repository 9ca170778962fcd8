"""The servers that are measured: Slipway and the yardsticks, each started in turn with its own defaults."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.machine import cpu_of, memory, tree
from bench.runtime.child import ROOT
from bench.runtime.figure import Options
from bench.runtime.inputs import FOLDERS
from bench.runtime.wire import Wire

OURS = str(ROOT / ".venv/runtime/bin/python")
THEIRS = str(ROOT / ".venv/bench/bin/python")
CHAT = Wire("/v1/chat/completions", chat=True)
ALL = ("classification", "embeddings", "generation")


@dataclass(frozen=True)
class Kind:
    """A server and how it is called."""

    name: str
    title: str
    command: tuple[str, ...]
    """With {model}, {workload} and {port}."""
    workloads: tuple[str, ...] = ALL
    path: str = "/"
    chats: bool = False
    """Generation is asked for as OpenAI's chat, and streamed."""
    env: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False

    def wire(self, workload: str) -> Wire:
        return CHAT if self.chats and workload == "generation" else Wire(self.path)


_SERVE = (str(ROOT / ".venv/bench/bin/transformers"), "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}")
_YARDSTICK = ("--workload", "{workload}", "--model", "{model}", "--port", "{port}")
SLIPWAY = Kind(
    "slipway",
    "Slipway",
    (OURS, "-m", "slipway_runtime", "serve"),
    chats=True,
    env={"SLIPWAY_MODEL_PATH": "{model}", "SLIPWAY_HOST": "127.0.0.1", "SLIPWAY_HTTP_PORT": "{port}"},
    ours=True,
)
_WORKERS = replace(
    SLIPWAY,
    name="slipway-workers",
    title="Slipway, SLIPWAY_WORKERS=2",
    workloads=("classification", "embeddings"),
    env={**SLIPWAY.env, "SLIPWAY_WORKERS": "2"},
)
KINDS = {
    kind.name: kind
    for kind in (
        SLIPWAY,
        _WORKERS,
        Kind("plain", "FastAPI + pipeline", (THEIRS, "-m", "bench.runtime.yardsticks.plain", *_YARDSTICK)),
        Kind("litserve", "LitServe", (THEIRS, "-m", "bench.runtime.yardsticks.lit", *_YARDSTICK), path="/predict"),
        Kind("serve", "transformers serve", _SERVE, ("generation",), chats=True),
        Kind(
            "serve-cb",
            "transformers serve --continuous-batching",
            (*_SERVE, "--continuous-batching"),
            ("generation",),
            chats=True,
        ),
    )
}


class Server:
    """A process that serves one model on a free port. A context manager: it ends, and what it started too."""

    def __init__(self, kind: Kind, workload: str, options: Options) -> None:
        self.kind, self.workload = kind, workload
        self.folder = FOLDERS[workload]
        self.port, admin = _free_port(), _free_port()
        self._variables = {**options.environment, **(options.variables if kind.ours else {})}
        self._admin = admin
        self._scratch = tempfile.TemporaryDirectory(prefix="slipway-bench-")
        self.log = Path(self._scratch.name, "log")
        self.pids: set[int] = set()

    def __enter__(self) -> Server:
        values = {"model": str(self.folder), "workload": self.workload, "port": str(self.port)}
        env = {name: value.format(**values) for name, value in self.kind.env.items()}
        if self.kind.ours:
            env |= {"SLIPWAY_ADMIN_PORT": str(self._admin), "SLIPWAY_CACHE_DIR": f"{self._scratch.name}/cache"}
            env |= {"SLIPWAY_TERMINATION_LOG": f"{self._scratch.name}/word"}
            env |= {"SLIPWAY_TASK": {"classification": "text-classification", "embeddings": "feature-extraction",
                                     "generation": "text-generation"}[self.workload]}  # fmt: skip
        words = [word.format(**values) for word in self.kind.command]
        # Started as a pod would start it: bytecode is used and nothing of this process's environment is.
        surroundings = {"PATH": os.environ["PATH"], "HOME": self._scratch.name, "HF_HUB_OFFLINE": "1"}
        self.started = time.time()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *words],
                cwd=ROOT,
                env=surroundings | env | self._variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.note()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in self.pids - {self.process.pid}:
            if _is_ours(pid, self.port):
                os.kill(pid, signal.SIGKILL)
        self._scratch.cleanup()

    def note(self) -> None:
        """Remembers what it has started; some leave it behind."""
        if self.process.poll() is None:
            self.pids |= set(tree(self.process.pid))

    def cpu(self) -> float:
        """Seconds of CPU so far, of all its processes."""
        self.note()
        return cpu_of(self.pids)

    def megabytes(self, what: str = "VmRSS") -> float:
        """Resident memory of all its processes."""
        self.note()
        total = 0.0
        for pid in self.pids:
            try:
                total += memory(pid, what)
            except (FileNotFoundError, ProcessLookupError, AssertionError):  # gone, or a zombie
                continue
        return total

    def last_words(self) -> str:
        """The end of its log, for whoever must find out why it failed."""
        return self.log.read_text(errors="replace")[-2000:]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def _is_ours(pid: int, port: int) -> bool:
    """Whether a process that we saw start is still itself: a number may have gone to another since."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(re.search(rf"\b{port}\b", command)) or "multiprocessing" in command
