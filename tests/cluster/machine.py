"""What a machine looks like from outside the cluster: taken before and after, it must be the same."""

import json
import os
import re
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

# Folders in which something of a cluster could be left, by name of the entry.
_WATCHED = (
    "/run",
    "/run/lock",
    "/run/containerd",
    "/run/netns",
    "/run/runc",
    "/var/lib",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log",
    "/var/log/pods",
    "/var/log/containers",
    "/etc/cni/net.d",
    "/usr/libexec",
)
# These change by themselves.
_PASSING = re.compile(r"available|nr_|conntrack_count|dentry|inode|pty|entropy|last_pid|file-nr|random")
_SYSCTL_FOLDERS = ("net/ipv4/conf", "net/ipv6/conf", "net/bridge", "net/netfilter", "vm", "kernel/keys")
_SYSCTLS = ("net/ipv4/ip_forward", "kernel/panic", "kernel/panic_on_oops", "kernel/threads-max")
# Other programs of the machine come and go while the tests run, API servers of other tests among them. These words are
# in the command lines and sockets of what belongs to the cluster; its cgroups, which cannot go while a process is in
# them, tell the rest.
_OF_A_CLUSTER = re.compile(r"containerd|slipway-cluster|slipway/cluster|slipway/bin")
_PORTS = re.compile(r"^(10\.|127\.0\.0\.1:(5001|12379|12380|10248|10249|10256|10257|10259|18181)$)")


@dataclass(frozen=True)
class Machine:
    """One look at the machine. Processes are told apart by pid and start time."""

    mounts: frozenset[str]
    links: frozenset[str]
    addresses: frozenset[str]
    routes: frozenset[str]
    nft: frozenset[str]
    iptables: frozenset[str]
    cgroups: frozenset[str]
    listening: frozenset[str]
    unix_sockets: frozenset[str]
    sysctls: frozenset[str]
    files: frozenset[str]
    processes: frozenset[str]

    def differences(self, later: "Machine") -> list[str]:
        """One line for everything that came or went; processes may end."""
        found = []
        for field in fields(self):
            before, after = getattr(self, field.name), getattr(later, field.name)
            if field.name != "processes":
                found += [f"{field.name}: gone: {entry}" for entry in sorted(before - after)]
            found += [f"{field.name}: came: {entry}" for entry in sorted(after - before)]
        return found


def look() -> Machine:
    """Takes the picture."""
    return Machine(
        mounts=frozenset(" ".join(line.split()[3:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        links=frozenset(link["ifname"] for link in json.loads(_run("ip", "-json", "link", "show"))),
        addresses=frozenset(_addresses()),
        routes=frozenset(_run("ip", "route", "show", "table", "all").splitlines()),
        nft=frozenset(_run("nft", "list", "ruleset").splitlines()),
        iptables=frozenset(_run("iptables-legacy-save").splitlines()),
        cgroups=frozenset(_cgroups()),
        listening=frozenset(address for address in _listening() if _PORTS.match(address)),
        unix_sockets=frozenset(path for path in _unix_sockets() if _OF_A_CLUSTER.search(path)),
        sysctls=frozenset(_sysctls()),
        files=frozenset(str(entry) for folder in _WATCHED if Path(folder).is_dir() for entry in Path(folder).iterdir()),
        processes=frozenset(_processes()),
    )


def _run(*words: str) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def _addresses() -> list[str]:
    links = json.loads(_run("ip", "-json", "address", "show"))
    return [f"{link['ifname']} {a['local']}/{a['prefixlen']}" for link in links for a in link["addr_info"]]


def _cgroups() -> list[str]:
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "slipway" in folder or "kubepods" in folder]


def _listening() -> list[str]:
    return [line.split()[3] for line in _run("ss", "--no-header", "--listening", "--tcp", "--numeric").splitlines()]


def _unix_sockets() -> list[str]:
    return [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if "/" in line]


def _sysctls() -> list[str]:
    root = Path("/proc/sys")
    paths = [root / name for name in _SYSCTLS] + [p for folder in _SYSCTL_FOLDERS for p in (root / folder).rglob("*")]
    values = []
    for path in paths:
        if path.is_file() and os.access(path, os.R_OK) and not _PASSING.search(path.name):
            try:
                values.append(f"{path.relative_to(root)}={path.read_text().strip()}")
            except OSError:
                continue
    return values


def _processes() -> list[str]:
    """Those that look like parts of the cluster, and those in a mount namespace other than ours."""
    found = []
    ours = Path("/proc/self/ns/mnt").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                words = (entry / "cmdline").read_bytes().split(b"\0")
                elsewhere = (entry / "ns/mnt").readlink() != ours
            except OSError:
                continue
            command = b" ".join(words).decode(errors="replace")
            if command and (elsewhere or _OF_A_CLUSTER.search(command)):
                started = stat[stat.rindex(")") + 2 :].split()[19]
                found.append(f"{entry.name} {started} {command[:120]}")
    return found
