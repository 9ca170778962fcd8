"""The processes of a test cluster: etcd, kube-apiserver and kube-controller-manager, with throw-away data."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority

ROOT = Path(__file__).parents[2]
ETCD, APISERVER, CONTROLLER_MANAGER = "etcd", "kube-apiserver", "kube-controller-manager"
AUDIT_POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"

# What happens without a kubelet and still matters: Deployments make ReplicaSets and Pods, owners' children go.
CONTROLLERS = (
    "clusterrole-aggregation-controller,deployment-controller,disruption-controller,endpointslice-controller,"
    "garbage-collector-controller,job-controller,namespace-controller,replicaset-controller,resourcequota-controller,"
    "serviceaccount-controller,root-ca-certificate-publisher-controller"
)


def binary(name: str) -> str:
    """Path of a program of the local cluster: etcd, kube-apiserver, kube-controller-manager, kubectl or helm.

    SLIPWAY_TEST_BIN names a folder to use instead of the one that hack/cluster builds and keeps.
    """
    path = _binaries() / name
    if not path.exists():
        raise RuntimeError(f"{path} does not exist; `python3 hack/cluster tools` builds it")
    return str(path)


@cache
def _binaries() -> Path:
    if given := os.environ.get("SLIPWAY_TEST_BIN"):
        return Path(given)
    # Seconds when they are built already; a cold build takes minutes, so `make test` does it before pytest starts.
    built = subprocess.run(["python3", ROOT / "hack" / "cluster", "tools"], check=False, text=True, capture_output=True)
    if built.returncode:
        raise RuntimeError(f"hack/cluster cannot build the API server: {built.stderr.strip() or built.stdout.strip()}")
    return Path(built.stdout.strip().splitlines()[-1])


class ControlPlane:
    """Starts and ends the processes; what they need and what they write lies in `folder`."""

    def __init__(self, folder: Path, *, with_controllers: bool) -> None:
        self.folder = folder
        self.with_controllers = with_controllers
        self.port, self._etcd_port, self._peer_port = _free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = Authority(folder / "pki")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        flags = {
            "data-dir": self.folder / "etcd",
            "unsafe-no-fsync": "true",  # the data dies with the test
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "warn",
        }
        self._spawn(ETCD, flags)

    def start_apiserver(self) -> None:
        certificate, key = self.authority.server("apiserver", "IP:127.0.0.1", "DNS:localhost")
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(AUDIT_POLICY)
        private, public = self.authority.signing_keys()
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "endpoint-reconciler-type": "none",  # it refuses loopback addresses
            "secure-port": self.port,
            "tls-cert-file": certificate,
            "tls-private-key-file": key,
            "cert-dir": self.folder / "pki",
            "client-ca-file": self.authority.certificate,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": public,
            "service-account-signing-key-file": private,
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "RBAC",
            "audit-policy-file": policy,
            "audit-log-path": self.folder / "audit.log",
            "audit-log-mode": "blocking",  # a request that is answered is in the log
            "profiling": "false",
        }
        if not self.with_controllers:
            flags["disable-admission-plugins"] = "ServiceAccount"
        self._spawn(APISERVER, flags)

    def start_controllers(self, kubeconfig: Path) -> None:
        flags = {
            "kubeconfig": kubeconfig,
            "controllers": CONTROLLERS,
            "leader-elect": "false",
            "secure-port": 0,
            "root-ca-file": self.authority.certificate,
            "service-account-private-key-file": self.authority.signing_keys()[0],
        }
        self._spawn(CONTROLLER_MANAGER, flags)

    def end(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process, paused or not; no error if it does not run."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        process.wait(60)

    def end_all(self) -> None:
        for name in reversed(list(self.processes)):
            self.end(name)

    def require_running(self) -> None:
        """Raise with the end of its log when a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _spawn(self, name: str, flags: dict[str, Any]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            words = [f"--{flag}={value}" for flag, value in flags.items()]
            # setpriv: the kernel ends the process when ours is gone, killed or not.
            command = ["setpriv", "--pdeathsig", "KILL", "--", binary(name), *words]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _free_ports(count: int) -> Sequence[int]:
    """Loopback ports below the range that outgoing connections use, so that a stopped server finds its own again."""
    ports: list[int] = []
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free loopback ports between 20000 and 32000")
