"""The local cluster as these tests handle it: by the commands that people type, and by SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localcluster import cgroups, paths, processes

from tests.support.waiting import eventually

_COMMAND = [sys.executable, str(paths.SOURCES)]


class Cluster:
    """`make cluster-up`, `make cluster-down`, kubectl, and ways to break things."""

    def up(self) -> str:
        """Brings the cluster up or repairs it; returns what was printed."""
        return _run([*_COMMAND, "up"], timeout=240)

    def start(self) -> "subprocess.Popen[str]":
        """Begins to bring the cluster up, and does not wait."""
        return subprocess.Popen(
            [*_COMMAND, "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def down(self) -> str:
        """Stops the cluster; returns what was printed."""
        return _run([*_COMMAND, "down"], timeout=120)

    def status(self) -> "subprocess.CompletedProcess[str]":
        """`make cluster-status`."""
        return subprocess.run([*_COMMAND, "status"], capture_output=True, text=True, check=False, timeout=60)

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """kubectl with the published kubeconfig."""
        argv = [str(paths.BIN / "kubectl"), "--kubeconfig", str(paths.KUBECONFIG), *words]
        return _run(argv, stdin=stdin, timeout=120, check=check)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Applies objects."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """One object; an empty one when it is not there."""
        text = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found", check=False)
        parsed: dict[str, Any] = json.loads(text or "{}")
        return parsed

    def kill_everything(self) -> None:
        """SIGKILL to every process of the cluster at once: daemons, registry, shims and pods."""
        victims = cgroups.members()
        assert victims, "nothing to kill"
        for pid in victims:
            _kill(pid)
        eventually(lambda: not any(processes.started_at(pid) for pid in victims))

    def kill_daemons(self) -> None:
        """SIGKILL to the daemons only: pods and their shims live on without anybody to watch them."""
        for name in processes.names():
            record = processes.recorded(name)
            if record and record.alive():
                _kill(record.pid)
        eventually(lambda: not any(processes.alive(name) for name in processes.names()))

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of its own in which pods can be created."""
        name = f"cluster-{uuid.uuid4().hex[:6]}"
        self.kubectl("create", "namespace", name)
        try:
            eventually(lambda: self.get("serviceaccount", "default", name) != {})
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", check=False)

    def works(self) -> None:
        """A pod runs, and reaches another one through a Service that it finds by name."""
        serve = "mkdir /tmp/www; echo the answer > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"
        ask = "for i in $(seq 50); do timeout 3 wget -q -O- http://web && exit 0; sleep 0.2; done; exit 1"
        with self.namespace() as name:
            self.apply(
                pod("web", name, serve, labels={"app": "web"}),
                service("web", name),
                pod("client", name, ask),
            )
            eventually(lambda: phase(self.get("pod", "client", name)) in {"Succeeded", "Failed"}, timeout=60)
            assert self.kubectl("logs", "-n", name, "client") == "the answer\n"


def phase(found: dict[str, Any]) -> str:
    """A pod's phase; empty when there is no such pod."""
    return str(found.get("status", {}).get("phase", ""))


def service(name: str, namespace: str = "default") -> dict[str, Any]:
    """A Service on port 80 for the pods labelled app=NAME, which listen on 8080."""
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def pod(
    name: str,
    namespace: str = "default",
    command: str = "exec sleep 3600",
    *,
    image: str = paths.BUSYBOX_IMAGE,
    labels: dict[str, str] | None = None,
    gpus: int = 0,
    claim: str | None = None,
) -> dict[str, Any]:
    """A pod that the Pod Security level `restricted` admits, with a volume claim mounted at /data if one is named."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": ["sh", "-c", command],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": security,
    }
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    meta = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _run(argv: list[str], *, timeout: float, stdin: str | None = None, check: bool = True) -> str:
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, check=False, timeout=timeout, cwd=Path("/")
    )
    assert not check or done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
