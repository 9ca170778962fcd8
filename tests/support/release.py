"""Slipway as users install it: `helm install` of the chart in this repository. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.kube import ROOT, Images, Kube

CHART = ROOT / "helm/slipway"


@dataclass
class Release:
    """One Helm release in a namespace of its own."""

    kube: Kube
    namespace: str
    images: Images
    watch: Sequence[str] = ()
    """Namespaces that it looks after; empty: all."""
    hub: str = ""
    """A mirror of the Hub; empty: the Hub."""
    name: str = "slipway"
    extra: dict[str, object] = field(default_factory=dict)
    """More values, by dotted path."""

    def install(self, command: str = "install") -> None:
        """Installs and waits until the operator's pods are ready."""
        self._helm(command, self.name, str(CHART), "--wait", "--timeout", "600s", *self._values())

    def upgrade(self, **changes: object) -> None:
        """`helm upgrade` with changed values; dots of a path are written as double underscores."""
        self.extra |= {name.replace("__", "."): value for name, value in changes.items()}
        self.install("upgrade")

    def uninstall(self) -> None:
        self._helm("uninstall", self.name, "--wait", "--timeout", "300s", "--ignore-not-found")

    def logs(self) -> list[dict[str, object]]:
        """Every line that the operator's pods logged, those of earlier containers of the same pods included."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/name=slipway"
        lines: list[str] = []
        for pod in self.kube.all("pods", self.namespace, selector):
            restarted = any(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
            for previous in ("--previous=false", "--previous=true") if restarted else ("--previous=false",):
                command = ("logs", "-n", self.namespace, pod["metadata"]["name"], previous)
                lines += self.kube.kubectl(*command, check=False).stdout.splitlines()
        return [json.loads(line) if line.startswith("{") else {"level": "error", "message": line} for line in lines]

    def pods(self) -> list[str]:
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/name=slipway"
        return [pod["metadata"]["name"] for pod in self.kube.all("pods", self.namespace, selector)]

    def _helm(self, *args: str) -> None:
        self.kube.run("helm", *args, "--namespace", self.namespace)

    def _values(self) -> list[str]:
        values: dict[str, object] = {
            "image.repository": _repository(self.images.operator),
            "image.tag": _tag(self.images.operator),
            "runtime.image.repository": _repository(self.images.runtime),
            "runtime.image.tag": _tag(self.images.runtime),
            "huggingFace.endpoint": self.hub,
            "watchNamespaces": list(self.watch),
            **self.extra,
        }
        return [word for path, value in values.items() for word in ("--set-json", f"{path}={json.dumps(value)}")]


def _repository(image: str) -> str:
    return image.rpartition(":")[0]


def _tag(image: str) -> str:
    return image.rpartition(":")[2]
