"""helm install, upgrade, uninstall and reinstall on a real API server: CRDs and endpoints outlive the release.

There is no kubelet. The pod of the CRD hook is played by a thread that runs the operator's own `apply-crds` with the
token of the pod's ServiceAccount, so that the rights which the chart gives to the hook are the ones that count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ROOT, Cluster, Object
from tests.support.builders import endpoint
from tests.support.chart import CHART, NAMESPACE, helm
from tests.support.waiting import eventually

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelendpoints.slipway.dev"
HOOK = "app.kubernetes.io/component=crd-upgrade"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without our CRDs, with controllers: Jobs make pods, owners' children go."""
    with Cluster(tmp_path_factory.mktemp("release"), controllers=True) as started:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        started.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        yield started


def release(cluster: Cluster, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """helm with the release's namespace; `install` and `upgrade` get the chart."""
    more = [str(CHART)] if words[0] in ("install", "upgrade") else []
    where = ["--kubeconfig", str(cluster.kubeconfig()), "--namespace", NAMESPACE]
    return helm(words[0], "slipway", *more, *words[1:], *where, check=check)


class Kubelet:
    """Runs the pods of the hook's Job as processes; `command` is what the container would run."""

    def __init__(self, cluster: Cluster, command: list[str]) -> None:
        self.cluster, self.command = cluster, command
        self.ran: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            path = f"/api/v1/namespaces/{NAMESPACE}/pods"
            pods = self.cluster.http.get(path, params={"labelSelector": HOOK}).json()["items"]
            for pod in pods:
                if pod["status"]["phase"] == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                    self.ran.append(pod["metadata"]["name"])
                    self._finish(pod, self._start(pod).returncode)

    def _start(self, pod: Object) -> subprocess.CompletedProcess[bytes]:
        account = f"system:serviceaccount:{NAMESPACE}:{pod['spec']['serviceAccountName']}"
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig(account))}
        with (self.cluster.folder / "hook.log").open("ab") as log:
            return subprocess.run(self.command, check=False, env=environment, stdout=log, stderr=log)

    def _finish(self, pod: Object, code: int) -> None:
        terminated = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        container = {"name": "apply-crds", "image": "x", "imageID": "x", "ready": False, "restartCount": 0}
        status = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [container | {"state": {"terminated": terminated}}],
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        self.cluster.http.patch(path, json={"status": status}, headers=headers).raise_for_status()

    @contextmanager
    def running(self) -> Iterator[Kubelet]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()


APPLY_CRDS = [sys.executable, "-m", "slipway_operator", "apply-crds", "--folder", str(ROOT / "crds")]


def schema(cluster: Cluster) -> Any:
    return cluster.http.get(CRD).raise_for_status().json()["spec"]["versions"][0]["schema"]


def make_older(cluster: Cluster) -> None:
    """The live CRD as an earlier version of the chart would have left it: without `paused`."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/paused"
    headers = {"Content-Type": "application/json-patch+json"}
    cluster.http.patch(CRD, json=[{"op": "remove", "path": path}], headers=headers).raise_for_status()


def of_the_hook(cluster: Cluster) -> list[str]:
    kinds = "serviceaccounts,clusterroles,clusterrolebindings,jobs,pods"
    return cluster.kubectl("get", kinds, "-A", "-l", HOOK, "-o", "name").stdout.split()


def test_install_upgrade_uninstall_reinstall(cluster: Cluster) -> None:
    # 1. A fresh installation brings the CRDs, runs no Job and says what to type next.
    done = release(cluster, "install")
    assert "kubectl -n default apply -f -" in done.stdout
    assert "kubectl get mep -A" in done.stdout
    assert of_the_hook(cluster) == []
    wanted = schema(cluster)
    eventually(lambda: cluster.http.get("/apis/slipway.dev/v1alpha1/modelendpoints").is_success)
    made = cluster.create(endpoint("kept", namespace="default", paused=True))

    # 2. An upgrade brings an older CRD up to date, with rights that are gone afterwards.
    make_older(cluster)
    with Kubelet(cluster, APPLY_CRDS).running() as kubelet:
        release(cluster, "upgrade", "--set", "replicas=1", "--timeout", "60s")
    assert len(kubelet.ran) == 1, cluster_log(cluster)
    assert schema(cluster) == wanted
    eventually(lambda: of_the_hook(cluster) == [])

    # 3. Uninstalling takes the operator and leaves CRDs and endpoints.
    release(cluster, "uninstall")
    left = cluster.kubectl("get", "all,serviceaccounts,roles,rolebindings,pdb", "-n", NAMESPACE, "-o", "name").stdout
    eventually(lambda: "slipway" not in cluster.kubectl("get", "deployments,pdb", "-n", NAMESPACE, "-o", "name").stdout)
    assert "serviceaccount/slipway" not in left.split()
    assert "slipway" not in cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").stdout
    assert cluster.get("mep", "kept", "default")["metadata"]["uid"] == made["metadata"]["uid"]

    # 4. A new installation that finds the same CRDs runs no Job; one that finds older ones brings them up to date.
    release(cluster, "install")
    assert of_the_hook(cluster) == []
    release(cluster, "uninstall")
    make_older(cluster)
    with Kubelet(cluster, APPLY_CRDS).running() as kubelet:
        release(cluster, "install", "--timeout", "60s")
    assert len(kubelet.ran) == 1, cluster_log(cluster)
    assert schema(cluster) == wanted
    assert cluster.get("mep", "kept", "default")["metadata"]["uid"] == made["metadata"]["uid"]

    # 5. A hook that fails stops the upgrade, keeps its pod for the logs, and keeps no rights.
    with Kubelet(cluster, ["false"]).running():
        done = release(cluster, "upgrade", "--timeout", "5s", check=False)
    assert done.returncode != 0
    assert "pre-upgrade" in done.stderr
    kept = [name.partition("/")[0] for name in of_the_hook(cluster)]
    assert set(kept) <= {"job.batch", "pod"}
    assert "job.batch" in kept

    # 6. The next upgrade goes through.
    with Kubelet(cluster, APPLY_CRDS).running():
        release(cluster, "upgrade", "--timeout", "60s")
    eventually(lambda: of_the_hook(cluster) == [])

    # 7. A rollback leaves the newer CRDs: they know every field of the older ones, and the reverse is not so.
    newer = {"metadata": {"annotations": {"slipway.dev/test": "newer"}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    cluster.http.patch(CRD, json=newer, headers=headers).raise_for_status()
    release(cluster, "rollback")
    assert of_the_hook(cluster) == []
    assert cluster.http.get(CRD).json()["metadata"]["annotations"]["slipway.dev/test"] == "newer"
    assert schema(cluster) == wanted


def cluster_log(cluster: Cluster) -> str:
    """What the hook wrote."""
    log: Path = cluster.folder / "hook.log"
    return log.read_text() if log.exists() else "the hook never ran"
