"""What this machine lacks, said all at once, each with what to do."""

import os
import platform
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import paths, processes

GO_AT_LEAST = (1, 26, 0)
GIB = 1024**3
# Program → Debian package that has it.
PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "busybox": "busybox-static",
    "mount": "mount",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
_OTHERWISE = "Or point SLIPWAY_KUBECONFIG and SLIPWAY_REGISTRY at a cluster that you have."


@dataclass(frozen=True)
class Machine:
    """The facts that decide; gathered apart so that the decision can be tested."""

    system: str
    root: bool
    debian: bool
    go: tuple[int, ...] | None
    missing_packages: tuple[str, ...]
    free_disk: int
    wanted_disk: int
    taken_ports: tuple[str, ...]
    clashing_routes: tuple[str, ...]


def problems(machine: Machine, *, go: bool = True) -> list[str]:
    """What cannot be mended from here, as sentences with a remedy. Missing Debian packages are mended if we are root.

    `go=False`: nothing is to be compiled.
    """
    found = []
    if machine.system != "Linux":
        return [f"This is {machine.system}; the local cluster needs Linux. {_OTHERWISE}"]
    if not machine.root:
        found.append(f"Not root: namespaces, mounts and cgroups need it. Run it as root. {_OTHERWISE}")
    wanted = ".".join(map(str, GO_AT_LEAST[:2]))
    if go and machine.go is None:
        found.append(
            f"Go is missing: install Go {wanted} or later and put `go` on PATH. Kubernetes is built from source."
        )
    elif go and machine.go is not None and machine.go < GO_AT_LEAST:
        found.append(f"Go {'.'.join(map(str, machine.go))} is too old: install Go {wanted} or later.")
    if machine.missing_packages and not (machine.root and machine.debian):
        found.append(f"Missing programs; install these packages: {' '.join(machine.missing_packages)}.")
    if machine.free_disk < machine.wanted_disk:
        found.append(
            f"{machine.free_disk / GIB:.0f} GiB free below {paths.CACHE}, {machine.wanted_disk / GIB:.0f} needed: "
            "make room, or set XDG_CACHE_HOME to a folder on a larger disk."
        )
    found += [
        f"Port taken: {port}. End what listens there (the registry's port can be moved by SLIPWAY_REGISTRY_PORT)."
        for port in machine.taken_ports
    ]
    found += [
        f"The network of the cluster is already routed: {route}. Remove that route, or the program that made it."
        for route in machine.clashing_routes
    ]
    return found


def look(*, fresh: bool, packages: dict[str, str] | None = None) -> Machine:
    """Gathers the facts. `fresh`: nothing of ours runs, so our ports and networks have to be free."""
    wanted = PROGRAMS if packages is None else packages
    return Machine(
        system=platform.system(),
        root=os.geteuid() == 0 if hasattr(os, "geteuid") else False,
        debian=Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None,
        go=_go_version(),
        missing_packages=missing_packages(wanted),
        free_disk=_free_disk(),
        wanted_disk=_wanted_disk(),
        taken_ports=tuple(_taken_ports()) if fresh else (),
        clashing_routes=tuple(_clashing_routes()) if fresh else (),
    )


def image_programs() -> dict[str, str]:
    """What building images takes: debootstrap for the base, and buildah where no other engine is there."""
    other = builds("docker") or builds("podman")
    return {"debootstrap": "debootstrap"} | ({} if other else {"buildah": "buildah"})


def builds(program: str) -> bool:
    """Whether docker or podman is there and answers: a docker client without its daemon builds nothing."""
    try:
        return subprocess.run([program, "info"], capture_output=True, check=False, timeout=20, cwd="/").returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def missing_packages(programs: dict[str, str]) -> tuple[str, ...]:
    """The Debian packages of those programs that are not there."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    absent = {package for program, package in programs.items() if shutil.which(program, path=places) is None}
    return tuple(sorted(absent))


def _go_version() -> tuple[int, ...] | None:
    try:
        text = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/").stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def _free_disk() -> int:
    folder = paths.CACHE
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _wanted_disk() -> int:
    """Bytes: what a cold start still has to write, and room for the cluster to run in."""
    needed = 5 * GIB
    if not paths.BUILDS.exists():
        needed += 8 * GIB
    if not (paths.REGISTRY_DATA / "docker").exists():
        needed += 20 * GIB
    return needed


def _taken_ports() -> list[str]:
    taken = []
    for (address, port), program in paths.PORTS.items():
        if program == "docker-registry" and processes.alive("registry"):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                taken.append(f"{address}:{port}, wanted by {program}")
    return taken


def _clashing_routes() -> list[str]:
    try:
        routes = subprocess.run(
            ["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return []
    ours = (f"dev {paths.BRIDGE}",)
    return [
        line.strip()
        for line in routes.splitlines()
        if re.search(r"\b10\.(244|96)\.", line) and not any(own in line for own in ours)
    ]
