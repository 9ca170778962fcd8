"""The joint of operator and runtime: two packages without shared code, each fed with what the other really writes.

The environment of a rendered container goes to slipway_runtime.settings; the runtime's /status, made by its own
interpreter (tests/contract/runtime_side.py), goes to slipway_operator.contract.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from slipway_operator import contract, reasons
from slipway_operator.model_endpoint import faults, spec, status
from slipway_operator.model_endpoint.render import children
from slipway_operator.settings import Settings
from slipway_runtime import settings as runtime_settings
from slipway_runtime.errors import REASON_CODES
from slipway_runtime.settings import Settings as RuntimeSettings
from slipway_runtime.tasks.table import TASKS

from tests.support.builders import stored
from tests.support.control_plane import ROOT
from tests.support.endpoints import CASES
from tests.support.observed import observed, parsed, ready, starting, template_of

Object = dict[str, Any]

SETTINGS = Settings(namespace="x", pod_name="x", runtime_image="runtime:1", hub_endpoint="http://mirror.hub.svc:8080")
PYTHON = ROOT / ".venv" / "runtime" / "bin" / "python"


def container(case: Object) -> Object:
    deployment = next(child for child in children(spec.parse(case), SETTINGS) if child["kind"] == "Deployment")
    found: Object = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def read(case: Object) -> RuntimeSettings:
    env = {one["name"]: one.get("value", "") for one in container(case)["env"]}
    return RuntimeSettings.from_env(env)


@pytest.fixture(scope="module")
def runtime() -> Object:
    """What the runtime says in every stage and for every fault."""
    assert PYTHON.exists(), "the runtime's environment is missing: run `make env`"
    script = Path(__file__).parent / "runtime_side.py"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "runtime-image")}
    done = subprocess.run([PYTHON, script], check=False, text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    found: Object = json.loads(done.stdout.splitlines()[-1])
    return found


# -- operator → runtime ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_runtime_reads_every_rendered_environment(case: str) -> None:
    found = read(CASES[case])
    assert found.endpoint == "emotions"
    assert bool(found.model_id) != bool(found.model_path)
    assert found.cache_dir == contract.CACHE_DIR
    assert found.drain_seconds == contract.DRAIN_SECONDS


def test_the_runtime_reads_what_the_spec_says() -> None:
    found = read(CASES["private-model"])
    assert (found.model_id, found.model_revision, found.task) == ("org/gated", "v1.2", "text-classification")
    assert found.token_file == "/var/run/slipway/source/token"
    assert found.hf_endpoint == "http://mirror.hub.svc:8080"
    volume = read(CASES["volume"])
    assert (volume.model_path, volume.model_id) == ("/mnt/model/minilm/v2", "")


def test_what_the_spec_leaves_open_is_the_runtimes_default() -> None:
    found, default = read(CASES["minimal"]), RuntimeSettings(model_id="x")
    for field in ("model_revision", "task", "token_file", "max_requests", "hold_seconds"):
        assert getattr(found, field) == getattr(default, field)


def test_every_variable_that_the_operator_sets_is_known_to_the_runtime() -> None:
    known = {field.metadata["env"] for field in dataclasses.fields(RuntimeSettings)}
    for case in CASES.values():
        mine = {one["name"] for one in container(case)["env"]}
        users = {one["name"] for one in case["spec"].get("podTemplate", {}).get("env", [])}
        assert mine - users <= known


def test_ports_are_the_same() -> None:
    default = RuntimeSettings()
    ports = {port["name"]: port["containerPort"] for port in container(CASES["minimal"])["ports"]}
    assert ports == {"http": default.http_port, "admin": default.admin_port}
    assert (default.http_port, default.admin_port) == (contract.HTTP_PORT, contract.ADMIN_PORT)


def test_the_kubelet_waits_longer_than_the_runtime_drains() -> None:
    unready = RuntimeSettings().unready_seconds
    assert contract.DRAIN_SECONDS + unready < contract.GRACE_SECONDS


def test_probes_ask_for_paths_that_the_runtime_serves(runtime: Object) -> None:
    probes = [
        container(CASES["minimal"])[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")
    ]
    assert {probe["path"] for probe in probes} <= set(runtime["paths"])
    assert {probe["port"] for probe in probes} == {"admin"}
    assert "/status" in runtime["paths"]


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "c0ffee", "a_b-c.d"])
def test_revisions_that_the_crd_admits_are_admitted_by_the_runtime(revision: str) -> None:
    assert read(stored(model={"id": "org/name", "revision": revision})).model_revision == revision


@pytest.mark.parametrize("repository", ["org/name", "gpt2", "sentence-transformers/all-MiniLM-L6-v2", "a_b/c.d-e"])
def test_repositories_that_the_crd_admits_are_admitted_by_the_runtime(repository: str) -> None:
    assert read(stored(model={"id": repository})).model_id == repository


# -- runtime → operator ------------------------------------------------------------------------------------------------


def test_reasons_are_the_same_on_both_sides(runtime: Object) -> None:
    assert set(runtime["reasons"]) == set(reasons.BY_RUNTIME_REASON) == set(REASON_CODES)


def parsed_status(runtime: Object, name: str) -> contract.RuntimeStatus:
    found = contract.parse_status(json.dumps(runtime["statuses"][name]).encode())
    assert found is not None
    return found


def test_every_stage_is_read(runtime: Object) -> None:
    stages = {
        name: parsed_status(runtime, name).stage for name in ("starting", "downloading", "loading", "ready", "draining")
    }
    assert stages == {name: name.capitalize() for name in stages}


def test_a_download_becomes_progress_in_the_endpoints_status(runtime: Object) -> None:
    endpoint = parsed()
    template = template_of(endpoint)
    seen = observed(endpoint, starting("p", template), reports={"p": parsed_status(runtime, "downloading")})
    found = status.compute(endpoint, seen, template=template, fault=None, previous={}, now="now")
    assert found["phase"] == "Initializing"
    assert found["progress"]["stage"] == "Downloading"
    assert found["progress"]["percent"] == 25
    assert parsed_status(runtime, "unknown size").percent is None


def test_a_loaded_model_is_told_in_the_endpoints_status(runtime: Object) -> None:
    endpoint = parsed(model={"id": "org/name"})
    template = template_of(endpoint)
    seen = observed(endpoint, ready("p", template), reports={"p": parsed_status(runtime, "ready")})
    found = status.compute(endpoint, seen, template=template, fault=None, previous={}, now="now")
    assert found["model"] == {
        "id": "org/name",
        "revision": "c0ffee",
        "task": "feature-extraction",
        "format": "safetensors",
        "sizeBytes": 90_868_376,
    }


@pytest.mark.parametrize("reason", REASON_CODES)
def test_a_fault_of_the_runtime_becomes_a_condition_in_its_own_words(runtime: Object, reason: str) -> None:
    endpoint = parsed()
    template = template_of(endpoint)
    said = parsed_status(runtime, reason)
    assert said.stage == "Failed"
    assert said.error is not None
    assert said.error.code == REASON_CODES[reason]
    found = faults.find(endpoint, observed(endpoint, starting("p", template), reports={"p": said}), template)
    assert found is not None
    assert (found.reason.name, found.message) == (reason, f"what is wrong: {reason}")


def test_settings_of_the_runtime_are_importable_without_its_libraries() -> None:
    """So that this test can run in the operator's environment."""
    assert Path(runtime_settings.__file__).name == "settings.py"


def test_the_crd_takes_every_word_for_a_task_that_the_runtime_serves() -> None:
    crd = yaml.safe_load((ROOT / "crds/modelendpoints.yaml").read_text())
    task = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["task"]
    [rule] = task["x-kubernetes-validations"]
    words = {name for served in TASKS.values() for name in (served.name, *served.aliases)}
    assert set(re.findall(r"'([a-z0-9-]+)'", rule["rule"])) == words
    assert {name for name in words if name in task["description"]} == words
    assert {name for name in TASKS if name in rule["messageExpression"]} == set(TASKS)
