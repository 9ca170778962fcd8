"""`python -m slipway_operator run` is the operator; `apply-crds` the chart's upgrade hook."""

import argparse
import asyncio
import gc
import os
import sys
from pathlib import Path

from slipway_operator import __version__, errors, logs
from slipway_operator.settings import Settings, SettingsError

EX_CONFIG = 64
"""Exit code for settings that cannot be used (the contract's: decisions/0002)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="slipway_operator", description="Slipway's operator for inference endpoints.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch ModelEndpoints and keep the cluster as they say")
    crds = commands.add_parser("apply-crds", help="bring the cluster's CRDs to those of this version")
    crds.add_argument("--folder", type=Path, default=Path("/crds"))
    arguments = parser.parse_args()
    return run() if arguments.command == "run" else apply_crds(arguments.folder)


def run() -> int:
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    # Imported here: kopf costs a quarter of a second that apply-crds need not pay.
    from slipway_operator.handlers import operator  # noqa: PLC0415

    logs.configure(settings.log_level)
    # The caches are tens of thousands of long-lived dicts: Python's own thresholds walk them over and over while a
    # list is
    # read. A quarter less CPU at a restart with 1,000 endpoints, no more memory (bench/operator).
    gc.set_threshold(20_000, 20, 50)
    return operator.run(settings)


def apply_crds(folder: Path) -> int:
    from slipway_operator.crds import apply_crds as apply  # noqa: PLC0415

    logs.configure("INFO")
    try:
        asyncio.run(apply(folder))
    except (errors.ClusterError, FileNotFoundError) as error:
        sys.stderr.write(f"CRDs were not applied: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
