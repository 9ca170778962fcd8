"""Running commands: output only when they fail."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandFailed(RuntimeError):
    """A command ended with an error; the message carries the command and the end of what it wrote."""


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Runs a command to its end and returns its standard output. Raises CommandFailed unless `check` is False."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, env=env, cwd=cwd, timeout=timeout, check=False
    )
    if check and done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise CommandFailed(f"{' '.join(words)[:300]} ended with {done.returncode}:\n{tail}")
    return done.stdout
