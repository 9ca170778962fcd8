"""`python -m slipway_runtime serve`: the image's entry point. Further subcommands are further lines in COMMANDS."""

from __future__ import annotations

import sys

EXIT_USAGE = 64  # the same code as a bad configuration: a Job must not be tried again for it


def _serve() -> int:
    from slipway_runtime.serve.workers import run  # noqa: PLC0415 - each subcommand imports only what it needs

    return run()


COMMANDS = {"serve": _serve}


def main(arguments: list[str]) -> int:
    """Run one subcommand; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        given = " ".join(arguments) or "nothing"
        sys.stderr.write(f"usage: python -m slipway_runtime {{{'|'.join(COMMANDS)}}}; got {given}\n")
        return EXIT_USAGE
    return COMMANDS[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
