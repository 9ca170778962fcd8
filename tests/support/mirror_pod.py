"""The Hub mirror as a pod: reachable from serving pods of any cluster, and a place to call endpoints from. Standard
library only.

The pod runs the runtime's image, which has Python and huggingface_hub already.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.support.kube import ROOT, Kube, Object

NAME = "hub-mirror"
PORT = 8090
MODELS = "/models"


class MirrorPod:
    """A mirror in `namespace`; `url` is what HF_ENDPOINT is set to."""

    def __init__(self, kube: Kube, namespace: str, image: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._image = image
        self.url = f"http://{NAME}.{namespace}.svc:{PORT}"

    def start(self) -> None:
        """Makes the pod and its Service, and waits until it answers."""
        self._kube.apply(*self._objects())
        self._kube.kubectl("wait", "-n", self._namespace, "--for=condition=Ready", f"pod/{NAME}", "--timeout=300s")

    def publish(self, repository: str, folder: Path) -> None:
        """Makes `folder` the whole content of `repository` (org/name), at once: no download sees half of it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=".")
        target = f"{MODELS}/{repository}"
        script = (
            f"rm -rf {target}.new && mkdir -p {target}.new && tar -xf - -C {target}.new && rm -rf {target} "
            f"&& mv {target}.new {target}"
        )
        self._exec("sh", "-c", script, stdin=packed.getvalue())

    def withdraw(self, repository: str) -> None:
        self._exec("rm", "-rf", f"{MODELS}/{repository}")

    def python(self, script: str, *args: str) -> str:
        """Runs a script inside the cluster, with the runtime's libraries; returns what it printed."""
        return self._exec("python", "-c", script, *args)

    def _exec(self, *command: str, stdin: bytes | None = None) -> str:
        interactive = ["-i"] if stdin is not None else []
        return self._kube.run(
            "kubectl", "exec", *interactive, "-n", self._namespace, NAME, "--", *command, stdin=stdin
        ).stdout

    def _objects(self) -> list[Object]:
        source = (ROOT / "tests/support/hub_mirror.py").read_text()
        metadata = {"name": NAME, "namespace": self._namespace}
        labels = {"app.kubernetes.io/name": NAME}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"hub_mirror.py": source}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": PORT}]},
            },
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {**metadata, "labels": labels},
                "spec": self._pod(),
            },
        ]

    def _pod(self) -> Object:
        command = ["python", "/mirror/hub_mirror.py", "--root", MODELS, "--host", "0.0.0.0", "--port", str(PORT)]
        return {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "mirror",
                    "image": self._image,
                    "command": command,
                    "env": [{"name": "HOME", "value": "/tmp"}],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "mirror", "mountPath": "/mirror"},
                        {"name": "models", "mountPath": MODELS},
                    ],
                }
            ],
            "volumes": [{"name": "mirror", "configMap": {"name": NAME}}, {"name": "models", "emptyDir": {}}],
        }
