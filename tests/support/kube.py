"""kubectl and helm as a user has them, for the demo and the e2e tests. Standard library only: the demo runs without
an environment.

With SLIPWAY_KUBECONFIG and SLIPWAY_REGISTRY that cluster is used, else the local one of hack/cluster.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


class CommandFailed(AssertionError):
    """A command that was to succeed did not; the text has what it said."""


@dataclass(frozen=True)
class Images:
    """Names with tags, as pods pull them."""

    operator: str
    runtime: str


@dataclass(frozen=True)
class Environment:
    """Where things are."""

    kubeconfig: Path
    path: str
    """PATH on which kubectl and helm are found."""
    local: bool
    """Whether it is the cluster of hack/cluster, which is ours alone."""

    @property
    def variables(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": self.path}

    @property
    def audit_log(self) -> Path:
        """Of the local cluster's API server; a cluster of the user's keeps its own."""
        return ROOT / ".cache/cluster/audit.log"


def environment() -> Environment:
    """The cluster that SLIPWAY_KUBECONFIG names, or the local one. Does not start it."""
    given = os.environ.get("SLIPWAY_KUBECONFIG")
    tools = f"{ROOT / '.cache/bin'}{os.pathsep}{os.environ['PATH']}"
    if given is None:
        return Environment(ROOT / ".cache/cluster/kubeconfig", tools, local=True)
    if not os.environ.get("SLIPWAY_REGISTRY"):
        raise SystemExit(
            "SLIPWAY_KUBECONFIG is set and SLIPWAY_REGISTRY is not: name the registry that the cluster pulls from."
        )
    if not Path(given).is_file():
        raise SystemExit(f"SLIPWAY_KUBECONFIG names {given}, which is no file.")
    missing = [tool for tool in ("kubectl", "helm") if shutil.which(tool, path=tools) is None]
    if missing:
        raise SystemExit(f"{' and '.join(missing)}: not found. Install them, or let `make cluster-tools` build them.")
    return Environment(Path(given), tools, local=False)


def images() -> Images:
    """The images that `make images` pushed last."""
    text = (ROOT / ".cache/images.env").read_text()
    found = dict(re.findall(r"^(?:export )?(SLIPWAY_\w+_IMAGE)=\"?([^\"\n]+)", text, re.MULTILINE))
    return Images(found["SLIPWAY_OPERATOR_IMAGE"], found["SLIPWAY_RUNTIME_IMAGE"])


class Kube:
    """One cluster. Commands raise CommandFailed with what they said."""

    def __init__(self, where: Environment) -> None:
        self.where = where

    def run(self, *command: str, stdin: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, env=self.where.variables, input=stdin, capture_output=True, check=False)
        text = subprocess.CompletedProcess(command, done.returncode, _text(done.stdout), _text(done.stderr))
        if check and done.returncode:
            raise CommandFailed(f"{' '.join(command[:8])}: {text.stderr.strip() or text.stdout.strip()}")
        return text

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("kubectl", *args, stdin=None if stdin is None else stdin.encode(), check=check)

    def apply(self, *objects: Object) -> None:
        """As users do: client-side `kubectl apply`."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def patch(self, kind: str, name: str, namespace: str, patch: Object) -> None:
        self.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(patch))

    def find(self, kind: str, name: str, namespace: str) -> Object | None:
        """The object, or None if there is none of that name."""
        text = self.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json").stdout
        found: Object | None = json.loads(text) if text.strip() else None
        return found

    def get(self, kind: str, name: str, namespace: str) -> Object:
        found = self.find(kind, name, namespace)
        assert found is not None, f"{kind} {namespace}/{name} does not exist"
        return found

    def all(self, kinds: str, namespace: str, selector: str = "") -> list[Object]:
        chosen = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.kubectl("get", kinds, "-n", namespace, *chosen, "-o", "json").stdout)[
            "items"
        ]
        return items

    def namespace(self, name: str, *, labels: Mapping[str, str] | None = None) -> str:
        """Makes a namespace that enforces the `restricted` Pod Security Standard, as a careful team's does."""
        wanted = {"pod-security.kubernetes.io/enforce": "restricted", **(labels or {})}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": wanted}})
        return name

    def delete_namespaces(self, *names: str) -> None:
        """Side by side; waits until they are gone."""
        self.kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait=true", "--timeout=300s")

    @contextmanager
    def forward(self, target: str, namespace: str, port: int) -> Iterator[str]:
        """`kubectl port-forward`: a loopback URL that reaches a Service or pod. Ended on leaving."""
        command = ["kubectl", "port-forward", "-n", namespace, target, f":{port}"]
        process = subprocess.Popen(
            command, env=self.where.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise CommandFailed(f"port-forward to {target}: {line.strip() or 'it ended'}")
            yield f"http://127.0.0.1:{found.group(1)}"
        finally:
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def http(url: str, body: object | None = None, *, seconds: float = 30.0) -> tuple[int, Any]:
    """One request with JSON both ways: status and decoded answer (text if it is no JSON)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            status, payload = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, payload = error.code, error.read()
    try:
        return status, json.loads(payload)
    except ValueError:
        return status, payload.decode(errors="replace")


def condition(obj: Object | None, kind: str) -> Object:
    """A condition of an object's status; {} when it is not there."""
    conditions: list[Object] = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def wait(check: Callable[[], bool], seconds: float, what: str, *, interval: float = 0.2) -> float:
    """Waits until `check` holds; returns the seconds it took. Raises with `what` when time is up."""
    started = time.monotonic()
    while not check():
        if time.monotonic() - started > seconds:
            raise CommandFailed(f"not within {seconds:.0f} s: {what}")
        time.sleep(interval)
    return time.monotonic() - started


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
