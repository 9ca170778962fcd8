"""What a kubelet would do, as far as the operator can see it: pods become ready and answer on their admin port.

The mechanics only. Nothing runs in these pods; their /status is answered by this process, on a loopback address.
"""

from __future__ import annotations

import json
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from slipway_operator.contract import ADMIN_PORT

from bench.operator.api import MERGE, Request, items, send
from tests.support.apiserver import Cluster, Object
from tests.support.builders import MODEL

TEMPLATE_HASH = "5d9c7b6f4"
STARTED = "2026-11-21T09:00:00Z"
STATUS = {
    "kind": "serve",
    "stage": "Ready",
    "percent": None,
    "estimatedSeconds": None,
    "message": "ready",
    "error": None,
    "model": {
        "id": MODEL,
        "revision": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        "task": "sentence-similarity",
        "format": "safetensors",
        "sizeBytes": 90868376,
    },
    "inFlight": 0,
    "queued": 0,
    "lastRequestAge": None,
}


class Kubelet:
    """Answers for all pods of a namespace while it is entered."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        # Any loopback address is ours on Linux; a random one does not meet another run's.
        self.address = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"  # noqa: S311
        self._server = ThreadingHTTPServer((self.address, ADMIN_PORT), _Status)

    def start(self) -> None:
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def make_pods(self) -> None:
        """A pod for each Deployment that has none: what the controllers do, which pace themselves to 20 a second."""
        there = {pod["metadata"]["name"] for pod in items(self._cluster, self._pods)}
        made = [_pod(deployment) for deployment in items(self._cluster, self._deployments)]
        missing = [pod for pod in made if pod["metadata"]["name"] not in there]
        send(self._cluster, [Request("POST", self._pods, pod) for pod in missing])

    def make_ready(self) -> int:
        """Marks every pod ready that is not; returns how many are."""
        pods = items(self._cluster, self._pods)
        status = {"status": _ready_status(self.address)}
        unready = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") != "Running"]
        send(self._cluster, [Request("PATCH", f"{self._pods}/{name}/status", status, MERGE) for name in unready])
        return len(pods)


class _Status(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(STATUS).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002 - the base class has it so
        return


def _pod(deployment: Object) -> Object:
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"{metadata['name']}-{TEMPLATE_HASH}",
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **template["metadata"],
            "labels": {**template["metadata"]["labels"], "pod-template-hash": TEMPLATE_HASH},
            "name": f"{metadata['name']}-{TEMPLATE_HASH}-x2x8k",
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def _ready_status(address: str) -> Object:
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    container = {
        "name": "serve",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "image": "registry.example.com/slipway/runtime:1",
        "imageID": f"registry.example.com/slipway/runtime@sha256:{'0' * 64}",
        "containerID": f"containerd://{'0' * 64}",
        "state": {"running": {"startedAt": STARTED}},
    }
    return {
        "phase": "Running",
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": STARTED} for kind in types],
        "containerStatuses": [container],
        "hostIP": address,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": STARTED,
    }
