"""The real operator as a process of its own, against an API server of tests/support/apiserver.py.

    with Operator(cluster, folder) as operator:
        cluster.create(endpoint("emotions", namespace=namespace))
        eventually(lambda: operator.get("/livez").status_code == 200)

Settings are given as the fields of Settings that have a variable: `watch_silence=2`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml
from slipway_operator.settings import VARIABLES

from tests.support.apiserver import Cluster, Object
from tests.support.chart import OPERATOR
from tests.support.control_plane import _free_ports as free_ports
from tests.support.waiting import eventually

NAMESPACE = "slipway-system"
VARIABLE = {field: variable for variable, (field, _) in VARIABLES.items()}
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/slipway"


class Operator:
    """One replica. It ends with the test, however that ends; its log stays in `folder`."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        name: str = "slipway-0",
        *,
        user: str = OPERATOR,
        server: str | None = None,
        **settings: object,
    ) -> None:
        self.cluster, self.name, self.user = cluster, name, user
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._log = folder / f"{name}.log"
        self.kubeconfig = self._config(user, server)
        health, metrics = free_ports(2)
        given = {"namespace": NAMESPACE, "pod_name": name, "runtime_image": "registry.example.com/slipway/runtime:1"}
        given |= {"health_port": str(health), "metrics_port": str(metrics)}
        given |= {field: str(value) for field, value in settings.items()}
        self._environment = {VARIABLE[field]: value for field, value in given.items()}
        self._health, self._metrics = (httpx.Client(base_url=f"http://127.0.0.1:{port}") for port in (health, metrics))

    # -- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, *, wait: bool = True) -> None:
        """Start it, again after stop() or kill(); with `wait`, return when its caches are synced."""
        environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(self.kubeconfig), **self._environment}
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
            sys.executable,
            "-W",
            "error",
            "-m",
            "slipway_operator",
            "run",
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            eventually(self.is_ready, timeout=180)

    def stop(self) -> int:
        """SIGTERM, as the kubelet ends it; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._health.close()
        self._metrics.close()

    def freeze(self) -> None:
        """SIGSTOP: the process neither works nor ends."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # -- what it says of itself --------------------------------------------------------------------------------------

    def get(self, path: str) -> httpx.Response:
        """/livez or /readyz."""
        return self._health.get(path)

    def is_ready(self) -> bool:
        if not self.is_running():
            raise RuntimeError(f"the operator ended: {self._log.read_text()[-3000:]}")
        try:
            return self.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels, as in the text format."""
        text = self._metrics.get("/metrics").raise_for_status().text
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def leads(self) -> bool:
        try:
            return self.metrics().get('leader_election_master_status{name="slipway"}') == 1.0
        except httpx.TransportError:
            return False

    def log(self) -> list[Object]:
        """Its lines; one that is not JSON (a traceback of the interpreter, say) counts as an error."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return [_line(line) for line in text.splitlines()]

    def complaints(self, since: int = 0) -> list[str]:
        """Lines of level error or above and tracebacks, from line `since` on."""
        bad = [line for line in self.log()[since:] if line["level"] in ("error", "critical") or "exception" in line]
        return [f"{line['message']} {line.get('exception', '')}".strip() for line in bad]

    def _config(self, user: str, server: str | None) -> Path:
        made = self.cluster.kubeconfig(user)
        if server is None:
            return made
        config: Object = yaml.safe_load(made.read_text())
        config["clusters"][0]["cluster"] = {"server": server}
        config["users"][0]["user"] = {}
        path = self._folder / f"{self.name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


def _line(text: str) -> Object:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        line = None
    return line if isinstance(line, dict) else {"level": "error", "message": text}


# -- what the operator makes -----------------------------------------------------------------------------------------

PATHS = {
    "ModelEndpoint": "/apis/slipway.dev/v1alpha1/namespaces/{0}/modelendpoints",
    "ServiceAccount": "/api/v1/namespaces/{0}/serviceaccounts",
    "Service": "/api/v1/namespaces/{0}/services",
    "Deployment": "/apis/apps/v1/namespaces/{0}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{0}/poddisruptionbudgets",
    "Pod": "/api/v1/namespaces/{0}/pods",
    "Event": "/api/v1/namespaces/{0}/events",
    "ResourceQuota": "/api/v1/namespaces/{0}/resourcequotas",
}
CHILDREN = ("ServiceAccount", "Service", "Deployment", "PodDisruptionBudget")
MERGE = {"Content-Type": "application/merge-patch+json"}


class Space:
    """One namespace, seen and changed as an administrator; httpx, since kubectl takes 0.1 s a call."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    def path(self, kind: str, name: str = "") -> str:
        return PATHS[kind].format(self.name) + (f"/{name}" if name else "")

    def find(self, kind: str, name: str = "emotions") -> Object | None:
        reply = self.cluster.http.get(self.path(kind, name))
        if reply.status_code == httpx.codes.NOT_FOUND:
            return None
        found: Object = reply.raise_for_status().json()
        return found

    def get(self, kind: str, name: str = "emotions") -> Object:
        found = self.find(kind, name)
        assert found is not None, f"{kind} {self.name}/{name} does not exist"
        return found

    def all(self, kind: str, selector: str = "") -> list[Object]:
        query = {"labelSelector": selector} if selector else {}
        items: list[Object] = self.cluster.http.get(self.path(kind), params=query).raise_for_status().json()["items"]
        return items

    def patch(self, kind: str, patch: Object, name: str = "emotions", *, manager: str = "somebody") -> Object:
        """JSON merge patch: what kubectl edit, patch and scale come down to."""
        path, query = self.path(kind, name), {"fieldManager": manager}
        reply = self.cluster.http.patch(path, params=query, headers=MERGE, content=json.dumps(patch))
        assert reply.is_success, reply.text
        changed: Object = reply.json()
        return changed

    def delete(self, kind: str, name: str = "emotions") -> None:
        reply = self.cluster.http.delete(self.path(kind, name), params={"propagationPolicy": "Background"})
        assert reply.is_success, reply.text

    def status(self, name: str = "emotions") -> Object:
        found: Object = self.get("ModelEndpoint", name).get("status", {})
        return found

    def condition(self, kind: str, name: str = "emotions") -> tuple[str, str] | None:
        """Status and reason of one of the endpoint's conditions."""
        for one in self.status(name).get("conditions", []):
            if one["type"] == kind:
                return one["status"], one["reason"]
        return None

    def message(self, kind: str, name: str = "emotions") -> str:
        return next((one["message"] for one in self.status(name).get("conditions", []) if one["type"] == kind), "")

    def events(self, reason: str, name: str = "emotions") -> list[Object]:
        """The endpoint's Events of this reason."""
        return [e for e in self.all("Event") if e["reason"] == reason and e["involvedObject"]["name"] == name]

    def has_children(self, *kinds: str, name: str = "emotions") -> bool:
        return all(self.find(kind, name) is not None for kind in kinds or CHILDREN[:3])

    def pods(self, name: str = "emotions") -> list[Object]:
        """Pods of an endpoint that nobody has asked to end."""
        found = self.all("Pod", f"slipway.dev/endpoint={name}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def some_pods(self, name: str = "emotions") -> list[Object] | None:
        """As pods(), but None while there are none: what `eventually` waits for."""
        return self.pods(name) or None

    def imitate_kubelet(self, pod: Object, **status: Any) -> None:
        """Write a pod's status as a kubelet would. The mechanics only: real causes are the business of e2e."""
        path = self.path("Pod", pod["metadata"]["name"]) + "/status"
        self.cluster.http.patch(path, headers=MERGE, content=json.dumps({"status": status})).raise_for_status()

    def make_ready(self, name: str = "emotions", *, address: str = "127.0.0.1") -> None:
        """All pods of an endpoint run and are ready."""
        for pod in self.pods(name):
            conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
            container = {
                "name": "serve",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "image": "x",
                "imageID": "x",
            }
            container |= {"state": {"running": {"startedAt": "2026-11-21T09:00:00Z"}}}
            ips = {"podIP": address, "podIPs": [{"ip": address}]}
            self.imitate_kubelet(pod, phase="Running", conditions=conditions, containerStatuses=[container], **ips)


def writes(cluster: Cluster, since: int = 0, *, namespace: str | None = None, user: str = OPERATOR) -> list[str]:
    """Writes of endpoints' objects by the operator from audit event `since` on; Events and Leases apart."""
    found = []
    for event in cluster.audit(user)[since:]:
        target = event.get("objectRef", {})
        apart = target.get("resource") in ("events", "leases") or namespace not in (None, target.get("namespace"))
        if event["verb"] in ("create", "update", "patch", "delete") and not apart:
            path = event["requestURI"].partition("?")[0]
            found.append(f"{event['verb']} {path} {event['responseStatus']['code']}")
    return found
