"""Where it is measured: a real etcd and API server, the chart's rights, endpoints with their children and pods."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.operator.api import Request, items, send
from bench.operator.kubelet import Kubelet
from bench.operator.process import Measured, start
from tests.support.apiserver import Cluster, Object
from tests.support.builders import endpoint
from tests.support.chart import OPERATOR, install_rights
from tests.support.waiting import eventually

NAMESPACE = "bench"
ENDPOINTS = f"/apis/slipway.dev/v1alpha1/namespaces/{NAMESPACE}/modelendpoints"
CHILDREN = {
    "serviceaccounts": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "services": f"/api/v1/namespaces/{NAMESPACE}/services",
    "deployments": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
}
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
KOPF_USER = "bare-kopf"
RESOURCES = {"limits": {"cpu": "1", "memory": "2Gi"}}


@dataclass
class World:
    cluster: Cluster
    kubelet: Kubelet
    folder: Path
    controllers: bool
    count: int = 0
    stack: ExitStack = field(default_factory=ExitStack)

    def operator(self, **options: Any) -> Measured:
        """A running operator that leads; it ends with the world."""
        operator = self.stack.enter_context(Measured(self.cluster, self.folder, **options))
        eventually(operator.leads, timeout=60)
        return operator

    def new(self, count: int) -> list[Object]:
        """So many endpoints more, not sent yet."""
        first, self.count = self.count, self.count + count
        return [endpoint(f"e-{n:05}", namespace=NAMESPACE, resources=RESOURCES) for n in range(first, first + count)]

    def grow(self, total: int, operator: Measured) -> None:
        """More endpoints, up to `total`, each with its children and a ready pod; returns when all is quiet."""
        send(self.cluster, [Request("POST", ENDPOINTS, one) for one in self.new(total - self.count)])
        eventually(lambda: operator.cached("deployments") >= total, timeout=120)
        if not self.controllers:
            self.kubelet.make_pods()
        self.make_ready()
        operator.settle()

    def make_ready(self) -> None:
        eventually(lambda: self.kubelet.make_ready() >= self.count, timeout=120, interval=0.2)
        eventually(self.all_run, timeout=120, interval=0.2)

    def all_have_status(self) -> bool:
        return all("phase" in one.get("status", {}) for one in items(self.cluster, ENDPOINTS))

    def all_run(self) -> bool:
        statuses = [one.get("status", {}) for one in items(self.cluster, ENDPOINTS)]
        return all(status.get("phase") == "Running" and "model" in status for status in statuses)

    def requests(self, user: str = OPERATOR) -> list[Object]:
        """Audit events of a user, oldest first."""
        return self.cluster.audit(user)

    @contextmanager
    def bare_kopf(self, count: int) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
        """A kopf process that does nothing, once it has seen `count` endpoints; and the seconds that it took."""
        config = self.cluster.kubeconfig(KOPF_USER, "system:masters")
        began = time.perf_counter()
        command = ["-m", "bench.operator.yardsticks.bare_kopf", str(count)]
        process = start(command, {"KUBECONFIG": str(config)}, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"seen\n":
                raise RuntimeError("the bare kopf process ended")
            yield process, time.perf_counter() - began
        finally:
            process.kill()
            process.communicate()


@contextmanager
def world(*, controllers: bool = False) -> Iterator[World]:
    """A fresh one; `controllers` adds the controller-manager, which makes Deployments' pods."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    try:
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(folder, controllers=controllers))
            cluster.install_crds()
            install_rights(cluster)
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            kubelet = Kubelet(cluster, NAMESPACE)
            kubelet.start()
            stack.callback(kubelet.stop)
            yield World(cluster, kubelet, folder, controllers, stack=stack)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def writes(requests: list[Object]) -> list[Object]:
    """Those audit events that wrote; Events and Leases apart, as the issue counts."""
    changing = ("create", "update", "patch", "delete", "deletecollection")
    return [one for one in requests if one["verb"] in changing and resource(one) not in ("events", "leases")]


def resource(request: Object) -> str:
    """`modelendpoints/status`; empty for discovery."""
    target = request.get("objectRef", {})
    return "/".join(part for part in (target.get("resource", ""), target.get("subresource", "")) if part)
