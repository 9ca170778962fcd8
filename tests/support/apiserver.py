"""A real etcd and kube-apiserver for tests: no kubelet, a controller-manager on request, nothing left behind.

    with Cluster(folder) as cluster:
        cluster.install_crds()
        cluster.kubectl("apply", "-f", "-", stdin=yaml_text)
        kubeconfig = cluster.kubeconfig("system:serviceaccount:slipway-system:slipway")

Ready in about 5 s. All processes end with the one that started them, however it ends, and keep their data and
certificates in `folder`. Faults of the API server: `stop` and `start` (same port, same data), `pause` and `resume`
(connections are accepted and never answered).
"""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.support.control_plane import APISERVER, ROOT, ControlPlane, binary
from tests.support.waiting import eventually

__all__ = ["ROOT", "Cluster", "Object", "binary"]

ADMIN = "admin"
Object = dict[str, Any]


class Cluster:
    """etcd, kube-apiserver and, with `controllers`, kube-controller-manager.

    Every request is in the audit log, metadata only. The ServiceAccount admission plugin runs only with `controllers`,
    since nobody else creates the `default` account that it asks for.
    """

    def __init__(self, folder: Path, *, controllers: bool = False) -> None:
        self.folder = folder
        self.plane = ControlPlane(folder, with_controllers=controllers)
        self.url, self.authority = self.plane.url, self.plane.authority
        certificate, key = self.authority.user(ADMIN, "system:masters")
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(certificate, key)
        self.http = httpx.Client(base_url=self.url, verify=context, trust_env=False, timeout=30)

    # -- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.plane.start_etcd()
            self.start()
            if self.plane.with_controllers:
                self.plane.start_controllers(self.kubeconfig())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End everything at once; the folder stays for whoever wants to read the logs."""
        self.http.close()
        self.plane.end_all()

    def start(self) -> None:
        """Start the API server, again on the same port and data; return when it is ready."""
        self.plane.start_apiserver()
        eventually(self._ready, timeout=90, retry=httpx.TransportError)

    def stop(self, *, kill: bool = True) -> None:
        """End the API server: as a crash does, or with `kill=False` as an upgrade does (it ends watches first)."""
        self.plane.end(APISERVER, signal.SIGKILL if kill else signal.SIGTERM)

    def pause(self) -> None:
        """Freeze the API server: connections are accepted by the kernel and nothing is answered."""
        self.plane.processes[APISERVER].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.plane.processes[APISERVER].send_signal(signal.SIGCONT)

    # -- users --------------------------------------------------------------------------------------------------

    def kubeconfig(self, user: str = ADMIN, *groups: str) -> Path:
        """Kubeconfig file for a user.

        `admin` may do everything. A name like system:serviceaccount:NAMESPACE:NAME gets a token of that service
        account, which must exist; any other name a client certificate, with whatever rights RBAC gives it.
        """
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        if user.startswith("system:serviceaccount:"):
            credentials: Object = {"token": self.token(user)}
        else:
            certificate, key = self.authority.user(user, *(groups or (("system:masters",) if user == ADMIN else ())))
            credentials = {"client-certificate": str(certificate), "client-key": str(key)}
        server = {"server": self.url, "certificate-authority": str(self.authority.certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def token(self, account: str) -> str:
        """A day's token of the service account system:serviceaccount:NAMESPACE:NAME."""
        _, _, namespace, name = account.split(":")
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        reply = self.http.post(path, json=request).raise_for_status()
        return str(reply.json()["status"]["token"])

    # -- doing things -------------------------------------------------------------------------------------------

    def kubectl(
        self, *args: str, user: str = ADMIN, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with `check` a failure raises with what kubectl said."""
        config = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        if not config.exists():
            self.kubeconfig(user)
        command = [binary("kubectl"), "--kubeconfig", str(config), "--cache-dir", str(self.folder / "kubectl"), *args]
        done = subprocess.run(command, check=False, input=stdin, text=True, capture_output=True)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done

    def apply(self, *objects: Object, user: str = ADMIN) -> None:
        """Server-side apply, through kubectl."""
        text = yaml.safe_dump_all(objects)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", user=user, stdin=text)

    def post(self, thing: Object, *, dry_run: bool = False) -> httpx.Response:
        """Create an object as admin with strict field validation; the reply is returned, refusal or not."""
        query = {"fieldValidation": "Strict", "fieldManager": "tests"} | ({"dryRun": "All"} if dry_run else {})
        return self.http.post(self._collection(thing), params=query, json=thing)

    def create(self, thing: Object) -> Object:
        """Create an object as admin and return it as stored."""
        reply = self.post(thing)
        if not reply.is_success:
            raise AssertionError(f"create {thing['kind']}: {reply.json().get('message')}")
        created: Object = reply.json()
        return created

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """The live object; `kind` in any spelling that kubectl knows."""
        where = ["-n", namespace] if namespace else []
        found: Object = json.loads(self.kubectl("get", kind, name, *where, "-o", "json").stdout)
        return found

    def install_crds(self) -> None:
        """Apply crds/ and wait until the API server serves them."""
        self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        # Not `kubectl wait`: it fails on a CRD whose conditions are not there yet. And a CRD is established a moment
        # before it is served, so wait for the thing itself.
        for path in (ROOT / "crds").glob("*.yaml"):
            spec = yaml.safe_load(path.read_text())["spec"]
            served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
            eventually(partial(self._serves, served), timeout=30)
        # What kubectl cached of the API before knows no such kinds; short names need them.
        shutil.rmtree(self.folder / "kubectl", ignore_errors=True)
        eventually(lambda: "mep " in self.kubectl("api-resources", "--api-group=slipway.dev").stdout, timeout=30)

    def audit(self, user: str | None = None) -> list[Object]:
        """One audit event for each answered request, oldest first; of one user, if given. A watch counts once."""
        requests: dict[str, Object] = {}
        for line in (self.folder / "audit.log").read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # a killed server may leave half a line
                event: Object = json.loads(line)
                requests[event["auditID"]] = event
        # A request that broke off before it was authenticated has no user.
        return [event for event in requests.values() if user in (None, event["user"].get("username"))]

    def log(self, name: str = APISERVER) -> str:
        """What a process has written."""
        return self.plane.log(name)

    @staticmethod
    def _collection(thing: Object) -> str:
        version, metadata = thing["apiVersion"], thing["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        return f"{root}{namespace}/{_plural(thing['kind'])}"

    def _serves(self, path: str) -> bool:
        return self.http.get(path).is_success

    def _ready(self) -> bool:
        self.plane.require_running()
        # `default` is made a moment after the server says that it is ready.
        return all(self._serves(path) for path in ("/readyz", "/api/v1/namespaces/default"))


def _plural(kind: str) -> str:
    """The resource's name in a path: modelendpoints, networkpolicies, ingressclasses."""
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("s") else f"{word}s"
