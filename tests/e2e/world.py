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
LOADING = 300.0
"""Seconds within which a pod is ready on two cores that others use, too; alone it takes five to ten."""
TOLD = 90.0
"""Seconds within which a fault is told, once the API server says so: three times of what is promised (design.md
section 3), for two busy cores.
"""
SHARED = "emotions"
"""The endpoint that all tests use which do not need one of their own: a pod costs ten seconds of a core."""
POLL = 0.3
"""Seconds between two looks at the cluster: each is a kubectl, a tenth of a second of a core."""


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
    shared_audit: tuple[int, int] = (0, 0)
    """Bytes of it when the shared endpoint was made, and when it was Ready."""

    def create(self, name: str, repository: str = "acme/emotions", **spec: Any) -> None:
        """Applies an endpoint of a small model, as `kubectl apply` does. It is deleted after the test."""
        self.made.append(name)
        self.kube.apply(self._manifest(name, repository, **spec))

    def _manifest(self, name: str, repository: str = "acme/emotions", **spec: Any) -> Object:
        wanted: Object = {"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}, **spec}
        model = wanted.pop("model", {"id": repository})
        return endpoint(name, namespace=self.namespace, model=model, **wanted)

    def create_shared(self) -> None:
        """Makes the shared endpoint where it is not there; else gives it back the spec that it was made with."""
        command = "create" if self.kube.find("mep", SHARED, self.namespace) is None else "replace"
        self.kube.kubectl(command, "-f", "-", stdin=json.dumps(self._manifest(SHARED)))

    def serve_shared(self) -> Object:
        """The shared endpoint as it was made, Ready, with its one pod; whatever a test before left of it."""
        begun = self._audit_size()
        fresh = self.kube.find("mep", SHARED, self.namespace) is None
        self.create_shared()
        try:
            found = self.ready()
        except AssertionError:
            self.remove(SHARED)
            self.create_shared()
            found = self.ready()
        eventually(lambda: len(self.pods()) == 1, LOADING, POLL)
        if fresh:
            self.shared_audit = (begun, self._audit_size())
        return found

    def endpoint(self, name: str = "emotions") -> Object:
        return self.kube.get("mep", name, self.namespace)

    def edit(self, name: str, spec: Object) -> None:
        self.kube.patch("mep", name, self.namespace, {"spec": spec})

    def delete(self, *names: str, wait: bool = True) -> None:
        self.kube.kubectl("delete", "mep", *names, "-n", self.namespace, "--ignore-not-found", f"--wait={wait}".lower())

    def remove(self, name: str) -> None:
        """Deletes an endpoint and waits until nothing of it is left."""
        self.delete(name)
        eventually(lambda: self.children(name) == [], LOADING, POLL)

    def condition(self, name: str, kind: str) -> Object:
        return condition(self.endpoint(name), kind)

    def ready(self, name: str = "emotions", seconds: float = LOADING) -> Object:
        """Waits with `kubectl wait` until the endpoint is as its spec says; returns it."""
        timeout = f"--timeout={seconds:.0f}s"
        self.kube.kubectl("wait", "-n", self.namespace, "--for=condition=Ready", f"mep/{name}", timeout)
        settled = eventually(lambda: self._settled(name), seconds, POLL)
        assert settled is not None
        return settled

    def _settled(self, name: str) -> Object | None:
        found = self.endpoint(name)
        ready = condition(found, "Ready")
        current = ready.get("observedGeneration") == found["metadata"]["generation"]
        return found if current and ready["status"] == "True" else None

    def fault(
        self, name: str, reason: str, *, words: str = "", seconds: float = TOLD, stalled: bool | None = None
    ) -> Object:
        """Waits until Ready is False for `reason`, with `words` in its message; returns the condition. `stalled`:
        what the condition Stalled must say.
        """

        def told() -> Object:
            found = self.condition(name, "Ready")
            assert found.get("reason") == reason, (
                f"Ready is {found.get('status')}, {found.get('reason')}: {found.get('message')}"
            )
            assert found["status"] == "False"
            assert words in found["message"], found["message"]
            if stalled is not None:
                assert bool(self.condition(name, "Stalled")) is stalled
            return found

        return eventually(told, seconds, POLL)

    def idle_pod(
        self, name: str, *, volume: Object | None = None, mounts: list[Object] | None = None, **resources: Any
    ) -> Object:
        """A pod of the test's own, which does nothing: to hold a volume open, or what a node has to give."""
        mirror = self.kube.get("pod", "hub-mirror", self.namespace)["spec"]
        container = {
            **{key: mirror["containers"][0][key] for key in ("image", "securityContext")},
            "name": "idle",
            "command": ["sleep", "600"],
            "volumeMounts": mounts or [],
            "resources": resources,
        }
        spec = {
            "securityContext": mirror["securityContext"],
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [volume] if volume else [],
        }
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

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

    def audit(self, begin: int | None = None, end: int | None = None) -> list[Object]:
        """The operator's requests of this run, from the local cluster's audit log, oldest first. `begin`, `end`:
        of a part of the log, in bytes.
        """
        account = f"system:serviceaccount:{self.release.namespace}:{self.release.name}"
        begin = self.audit_start if begin is None else begin
        with self.kube.where.audit_log.open("rb") as log:
            log.seek(begin)
            content = log.read() if end is None else log.read(end - begin)
        # The last line may be half written.
        entries = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
        # A request that broke off before it was authenticated has no user.
        return [entry for entry in entries if entry["user"].get("username") == account]

    def _audit_size(self) -> int:
        return self.kube.where.audit_log.stat().st_size if self.kube.where.local else 0
