"""The API server of the tests does what the tests of faults ask of it, and leaves nothing running."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.apiserver import ROOT, Cluster
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("own")) as started:
        yield started


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "ended"])
def test_stopped_and_started_it_has_the_same_address_data_and_tokens(own: Cluster, kill: bool) -> None:
    name = f"kept-{kill}".lower()
    meta = {"name": name, "namespace": "default"}
    own.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    user = f"system:serviceaccount:default:{name}"
    own.kubeconfig(user)
    own.stop(kill=kill)
    with pytest.raises(httpx.TransportError):
        own.http.get("/readyz")
    own.start()
    assert own.get("serviceaccount", name, "default")["metadata"]["name"] == name
    assert user in own.kubectl("auth", "whoami", user=user).stdout


def test_paused_it_answers_nothing_until_resumed(own: Cluster) -> None:
    own.pause()
    try:
        with pytest.raises(httpx.TimeoutException):
            own.http.get("/readyz", timeout=1)
    finally:
        own.resume()
    eventually(lambda: own.http.get("/readyz").is_success, retry=httpx.TransportError)


def test_the_audit_log_has_every_answered_request_with_its_user(own: Cluster) -> None:
    own.kubectl("get", "nodes", user="somebody", check=False)
    (event,) = [one for one in own.audit("somebody") if one.get("objectRef", {}).get("resource") == "nodes"]
    assert (event["verb"], event["responseStatus"]["code"]) == ("list", 403)


def test_a_watch_is_one_event_of_the_audit_log(own: Cluster) -> None:
    own.http.get("/api/v1/configmaps", params={"watch": "true", "timeoutSeconds": "1"})
    watches = [one for one in own.audit() if one["verb"] == "watch" and one["objectRef"]["resource"] == "configmaps"]
    mine = [one for one in watches if one["user"].get("username") == "admin"]
    assert len(mine) == 1


def test_a_user_without_rights_has_none(own: Cluster) -> None:
    assert "forbidden" in own.kubectl("get", "pods", user="nobody", check=False).stderr.lower()


def test_its_processes_die_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from tests.support.apiserver import Cluster\n"
        "with Cluster(Path(sys.argv[1])) as cluster:\n"
        "    print(json.dumps([p.pid for p in cluster.plane.processes.values()]), flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pids: list[int] = json.loads(run.stdout.readline())
        assert len(pids) == 2
        run.send_signal(signal.SIGKILL)
    eventually(lambda: not any(running(pid) for pid in pids), timeout=10)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
    except ProcessLookupError:
        return False


def test_its_files_are_not_for_others(own: Cluster) -> None:
    for key in (own.folder / "pki").glob("*.key"):
        assert not key.stat().st_mode & 0o077, key.name
