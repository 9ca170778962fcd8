"""A process of the bench's own that is asked in lines of JSON: the direct forward, and the load client.

Each has its own process so that none shares an interpreter lock, threads or memory with another, or with a server.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Child:
    """The asking side. A context manager; the process ends with it, and with this one."""

    def __init__(self, module: str, variables: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", module],
            cwd=ROOT,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, what: str, timeout: float = 300.0, **arguments: Any) -> Any:
        """The answer to a command. Raises RuntimeError with what went wrong, or when none comes in `timeout` s."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, arguments]).encode() + b"\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise RuntimeError(f"{what}: no answer within {timeout:g} s")
        reply = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        if "error" in reply:
            raise RuntimeError(f"{what}: {reply['error']}")
        return reply["answer"]


def answer(commands: dict[str, Callable[..., Any]]) -> None:
    """The asked side: answers until its input ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        what, arguments = json.loads(line)
        try:
            reply = {"answer": commands[what](**arguments)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(reply) + "\n")
        out.flush()
