"""What an e2e test has at hand: a cluster with Slipway installed by Helm, a mirror with small models, and words for
what users do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.builders import endpoint
from tests.support.kube import Kube, Object, condition, http
from tests.support.mirror_pod import MirrorPod
from tests.support.release import Release
from tests.support.waiting import eventually

NAMESPACE = "slipway-e2e"
SYSTEM = "slipway-e2e-system"
CHILDREN = "deployments,services,serviceaccounts,poddisruptionbudgets,pods"
LOADING = 120.0
"""Seconds within which a pod is ready on two busy cores."""
TOLD = 30.0
"""Seconds within which a fault is told, once the API server says so (design.md section 3)."""


@dataclass
class World:
    kube: Kube
    mirror: MirrorPod
    release: Release
    models: Path
    """Folders of test models by name."""
    namespace: str = NAMESPACE
    made: list[str] = field(default_factory=list)
    audit_start: int = 0
    """Bytes of the local cluster's audit log before this run: what an earlier one did is not ours to judge."""

    def create(self, name: str = "emotions", repository: str = "acme/emotions", **spec: Any) -> Object:
        """Applies an endpoint of a small model, as `kubectl apply` does."""
        wanted: Object = {"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}, **spec}
        model = wanted.pop("model", {"id": repository})
        obj = endpoint(name, namespace=self.namespace, model=model, **wanted)
        self.kube.apply(obj)
        self.made.append(name)
        return obj

    def endpoint(self, name: str = "emotions") -> Object:
        return self.kube.get("mep", name, self.namespace)

    def edit(self, name: str, spec: Object) -> None:
        self.kube.patch("mep", name, self.namespace, {"spec": spec})

    def delete(self, name: str) -> None:
        self.kube.kubectl("delete", "mep", name, "-n", self.namespace, "--ignore-not-found")

    def condition(self, name: str, kind: str) -> Object:
        return condition(self.endpoint(name), kind)

    def ready(self, name: str = "emotions", seconds: float = LOADING) -> Object:
        """Waits with `kubectl wait` until the endpoint is as its spec says; returns it."""
        timeout = f"--timeout={seconds:.0f}s"
        self.kube.kubectl("wait", "-n", self.namespace, "--for=condition=Ready", f"mep/{name}", timeout)
        settled = eventually(lambda: self._settled(name), timeout=seconds)
        assert settled is not None
        return settled

    def _settled(self, name: str) -> Object | None:
        found = self.endpoint(name)
        ready = condition(found, "Ready")
        current = ready.get("observedGeneration") == found["metadata"]["generation"]
        return found if current and ready["status"] == "True" else None

    def fault(self, name: str, reason: str, *, seconds: float = TOLD, stalled: bool | None = None) -> Object:
        """Waits until Ready is False for `reason`; returns the condition. `stalled`: what the condition Stalled
        must say.
        """

        def told() -> Object:
            found = self.condition(name, "Ready")
            assert found.get("reason") == reason, (
                f"Ready is {found.get('status')}, {found.get('reason')}: {found.get('message')}"
            )
            assert found["status"] == "False"
            if stalled is not None:
                assert bool(self.condition(name, "Stalled")) is stalled
            return found

        return eventually(told, timeout=seconds, interval=0.5)

    def pods(self, name: str = "emotions") -> list[Object]:
        return self.kube.all("pods", self.namespace, f"slipway.dev/endpoint={name}")

    def children(self, name: str = "emotions") -> list[str]:
        """`Kind/name` of everything that belongs to an endpoint, sorted."""
        found = self.kube.all(CHILDREN, self.namespace, f"slipway.dev/endpoint={name}")
        return sorted(f"{obj['kind']}/{obj['metadata']['name']}" for obj in found)

    @contextmanager
    def url(self, name: str = "emotions") -> Iterator[str]:
        """A loopback URL of the endpoint's Service."""
        with self.kube.forward(f"service/{name}", self.namespace, 80) as base:
            yield base

    def answer(self, name: str = "emotions", inputs: Any = "a good film") -> Any:
        """What the endpoint answers through its Service; fails unless it is 200."""
        with self.url(name) as base:
            status, body = http(f"{base}/", {"inputs": inputs})
        assert status == 200, f"{status}: {body}"
        return body

    def in_cluster(self, script: str, *args: str) -> Any:
        """Runs Python in the cluster, with huggingface_hub; returns its last printed line, decoded."""
        return json.loads(self.mirror.python(script, *args).splitlines()[-1])

    def audit(self) -> list[Object]:
        """The operator's requests of this run, from the local cluster's audit log, oldest first."""
        account = f"system:serviceaccount:{self.release.namespace}:{self.release.name}"
        with self.kube.where.audit_log.open("rb") as log:
            log.seek(self.audit_start)
            entries = [json.loads(line) for line in log.read().splitlines()]
        # A request that broke off before it was authenticated has no user.
        return [entry for entry in entries if entry["user"].get("username") == account]
