"""Processes that outlive the command that started them.

A process is recorded as pid and start time, because pids are used again: only a process with both is ours. It also runs
in a cgroup of ours, which its descendants cannot leave by forking; so whatever a run left can be found without trusting
any record.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroups, paths


@dataclass(frozen=True)
class Recorded:
    """A process as its pid file has it. `started`: clock ticks since boot, field 22 of /proc/PID/stat
    (proc_pid_stat(5)).
    """

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process runs: same start time, and no zombie."""
        return started_at(self.pid) == self.started


def started_at(pid: int) -> int | None:
    """The start time of a running process in clock ticks since boot; None when it has ended or is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name is in parentheses and may itself contain any character.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _pid_file(name: str) -> Path:
    return paths.RUN / "pids" / f"{name}.json"


def recorded(name: str) -> Recorded | None:
    """The record of the process `name`, or None when there is none or it is damaged."""
    try:
        entry = json.loads(_pid_file(name).read_text())
        return Recorded(int(entry["pid"]), int(entry["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(name: str) -> bool:
    """Whether the process recorded as `name` runs."""
    record = recorded(name)
    return record is not None and record.alive()


def names() -> list[str]:
    """The names of all recorded processes, running or not."""
    return sorted(file.stem for file in (paths.RUN / "pids").glob("*.json"))


def start(name: str, argv: Sequence[str | Path], *, group: str = "host", env: dict[str, str] | None = None) -> Recorded:
    """Starts a background process in a session and cgroup of its own; output goes to `LOGS/name.log`."""
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    _pid_file(name).parent.mkdir(parents=True, exist_ok=True)
    procs = cgroups.processes_group(group)
    # The shell moves itself into the cgroup and becomes the program: no moment in which a child could be outside.
    wrapped = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs), *(str(word) for word in argv)]
    with (paths.LOGS / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **(env or {})},
        )
    record = Recorded(child.pid, started_at(child.pid) or 0)
    _CHILDREN[child.pid] = child
    file = _pid_file(name)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"pid": record.pid, "started": record.started, "argv": [str(word) for word in argv]}))
    fresh.replace(file)
    return record


_CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}


def died(name: str) -> str | None:
    """A sentence with the end of its log if the process `name` has ended; None while it runs."""
    record = recorded(name)
    if record and (child := _CHILDREN.get(record.pid)):
        child.poll()
    if alive(name):
        return None
    log = paths.LOGS / f"{name}.log"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else "(no log)"
    return f"{name} has ended; {log} ends with:\n{tail}"


def stop(name: str, seconds: float = 5) -> None:
    """Ends the process `name`, and forgets it. A pid that now belongs to another process is left alone."""
    record = recorded(name)
    if record and record.alive():
        _signal(record, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while record.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
            if child := _CHILDREN.get(record.pid):
                child.poll()
        _signal(record, signal.SIGKILL)
    _pid_file(name).unlink(missing_ok=True)


def _signal(record: Recorded, number: signal.Signals) -> None:
    # A pidfd pins the process: between the comparison of start times and the signal its pid cannot pass to another one.
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if record.alive():
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
