"""What the demo and the e2e tests rely on: volumes, graphics processors, an audit log, isolation, quick repetition."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from localcluster import paths

from tests.support.waiting import consistently, eventually

from .cluster import Cluster, phase, pod


def test_a_claim_binds_and_a_restricted_pod_writes_to_it(running: Cluster, namespace: str) -> None:
    running.apply(_claim("data", namespace), pod("writer", namespace, "echo kept > /data/file", claim="data"))
    eventually(lambda: phase(running.get("pod", "writer", namespace)) == "Succeeded", timeout=60)
    running.kubectl("delete", "pod", "writer", "-n", namespace)
    running.apply(pod("reader", namespace, "cat /data/file", claim="data"))
    eventually(lambda: phase(running.get("pod", "reader", namespace)) == "Succeeded", timeout=60)
    assert running.kubectl("logs", "reader", "-n", namespace) == "kept\n"


def _claim(name: str, namespace: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def test_the_third_graphics_processor_is_not_there(running: Cluster, namespace: str) -> None:
    names = [f"gpu-{number}" for number in range(3)]
    running.apply(*(pod(name, namespace, gpus=1) for name in names))

    def phases() -> list[str]:
        return sorted(phase(running.get("pod", name, namespace)) for name in names)

    eventually(lambda: phases() == ["Pending", "Running", "Running"], timeout=60)
    consistently(lambda: phases() == ["Pending", "Running", "Running"], 2)
    pods = [running.get("pod", name, namespace) for name in names]
    waiting = next(found for found in pods if phase(found) == "Pending")
    assert "Insufficient nvidia.com/gpu" in json.dumps(waiting["status"]["conditions"])


def test_the_audit_log_tells_who_did_what_with_which_result(running: Cluster) -> None:
    running.kubectl("get", "configmap", "there-is-no-such-thing", check=False)

    def entry() -> bool:
        events = [json.loads(line) for line in (paths.CHECKOUT / "audit.log").read_text().splitlines()]
        found = [event for event in events if event.get("objectRef", {}).get("name") == "there-is-no-such-thing"]
        return ("ResponseComplete", "get", "slipway-admin", 404) in [
            (e["stage"], e["verb"], e["user"].get("username"), e["responseStatus"]["code"]) for e in found
        ]

    eventually(entry, retry=ValueError)  # the last line may be half written


def test_a_pod_reaches_nothing_outside(running: Cluster, namespace: str) -> None:
    """198.51.100.7 (RFC 5737, for documentation) stands for any address beyond this machine."""
    before = _rejected_packets()
    running.apply(pod("curious", namespace, "nc -w 5 198.51.100.7 80 </dev/null && echo through || echo refused"))
    eventually(lambda: phase(running.get("pod", "curious", namespace)) == "Succeeded", timeout=60)
    assert "refused" in running.kubectl("logs", "curious", "-n", namespace).splitlines()
    assert _rejected_packets() > before


def _rejected_packets() -> int:
    words = ["nft", "list", "table", "inet", paths.NFT_TABLE]
    rules = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"counter packets (\d+) bytes \d+ reject", rules)
    assert found, rules
    return int(found[1])


@pytest.mark.full
@pytest.mark.timeout(900)
def test_figures_of_pods_are_there_once_asked_for(running: Cluster) -> None:
    """Builds metrics-server where this machine has not done so yet: some minutes."""
    for _ in range(2):
        subprocess.run([sys.executable, str(paths.SOURCES), "metrics"], check=True, capture_output=True)
    assert paths.NODE in running.kubectl("top", "nodes")
    running.up()
    assert "metrics-server" in running.status().stdout


def test_starting_it_again_is_quick_and_changes_nothing(running: Cluster) -> None:
    before = (
        sorted((paths.RUN / "pids").iterdir()),
        [file.read_text() for file in sorted((paths.RUN / "pids").iterdir())],
    )
    begun = time.monotonic()
    running.up()
    assert time.monotonic() - begun < 30
    assert before == (
        sorted((paths.RUN / "pids").iterdir()),
        [f.read_text() for f in sorted((paths.RUN / "pids").iterdir())],
    )


@pytest.mark.full
def test_stopping_and_starting_takes_under_30_seconds(local: Cluster) -> None:
    local.up()
    local.down()
    begun = time.monotonic()
    local.up()
    assert time.monotonic() - begun < 30


def test_a_cluster_of_the_users_is_not_touched(running: Cluster) -> None:
    """`down` with SLIPWAY_KUBECONFIG set refuses, and says why."""
    environment = {**os.environ, "SLIPWAY_KUBECONFIG": "/some/kubeconfig"}
    done = subprocess.run(
        [sys.executable, str(paths.SOURCES), "down"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode != 0
    assert "SLIPWAY_KUBECONFIG=/some/kubeconfig" in done.stderr
    assert running.status().returncode == 0


def test_what_is_missing_is_said_together_and_nothing_is_touched(running: Cluster, tmp_path: Path) -> None:
    """No Go on PATH, and a cache folder on a disk that is too small."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_CACHE_HOME": str(small),
            "HOME": os.environ["HOME"],
        }
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from localcluster import preflight; "
            "print(*preflight.problems(preflight.look(fresh=False)))"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, str(paths.SOURCES)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
        assert "Go is missing" in said
        assert "0 GiB free" in said
    finally:
        subprocess.run(["umount", small], check=True)
    assert running.status().returncode == 0
