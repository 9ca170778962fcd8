"""Debian packages that are missing, installed by apt-get."""

import fcntl
import os
from pathlib import Path

from . import paths
from .say import step
from .shell import run

_NO_SERVICES = "#!/bin/sh\n# Written by slipway's hack/cluster while it installs packages; safe to remove.\nexit 101\n"


def install(packages: tuple[str, ...]) -> None:
    """Installs packages; services that they bring are not started, for the cluster brings its own."""
    if not packages:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Debian asks this program before it starts a service; 101 means no (see invoke-rc.d(8)). Someone's own one stays.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists() or policy.read_text() == _NO_SERVICES
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    with (paths.CACHE / "apt.lock").open("w") as lock, step(f"installing Debian packages: {' '.join(packages)}"):
        # Cluster and images may be started at the same time; apt-get refuses to run twice.
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(["apt-get", "update", "-q"], env=environment)
        if ours:
            policy.write_text(_NO_SERVICES)
            policy.chmod(0o755)
        try:
            run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], env=environment)
        finally:
            if ours:
                policy.unlink()
