"""The children of an endpoint as YAML files beside this test, one per case of tests/support/endpoints.py.

A change of rendering shows as a change of these files, for a person to read: a change in a pod template restarts every
pod of every user when the operator is upgraded. `SLIPWAY_UPDATE_GOLDEN=1 pytest tests/golden` writes them anew.
A real API server takes each of them in tests/apiserver/test_operator_behaviour.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from slipway_operator import kinds, labels
from slipway_operator.model_endpoint import spec
from slipway_operator.model_endpoint.render import children
from slipway_operator.settings import Settings

from tests.support.endpoints import CASES

Object = dict[str, Any]

FOLDER = Path(__file__).parent / "model_endpoint"
SETTINGS = Settings(
    namespace="slipway-system",
    pod_name="slipway-0",
    runtime_image="registry.example.com/slipway/runtime:1.2.3",
    hub_endpoint="https://hub.example.com",
)


def rendered(case: str) -> list[Object]:
    return children(spec.parse(CASES[case]), SETTINGS)


@pytest.mark.parametrize("case", CASES)
def test_children_are_as_in_the_file(case: str) -> None:
    found, file = rendered(case), FOLDER / f"{case}.yaml"
    if os.environ.get("SLIPWAY_UPDATE_GOLDEN"):
        file.write_text(yaml.safe_dump_all(found, sort_keys=False, width=120))
    assert list(yaml.safe_load_all(file.read_text())) == found


def test_no_file_is_left_of_a_case_that_is_gone() -> None:
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_same_endpoint_is_rendered_the_same_way(case: str) -> None:
    assert rendered(case) == rendered(case)


@pytest.mark.parametrize("case", CASES)
def test_every_child_is_named_labelled_and_owned(case: str) -> None:
    endpoint = CASES[case]["metadata"]
    for child in rendered(case):
        metadata = child["metadata"]
        assert (metadata["name"], metadata["namespace"]) == (endpoint["name"], endpoint["namespace"])
        assert metadata["labels"] == labels.of_children(endpoint["name"])
        assert (kinds.controller_of(child) or {})["uid"] == endpoint["uid"]


def pod(case: str) -> Object:
    deployment = next(child for child in rendered(case) if child["kind"] == "Deployment")
    spec_of_pod: Object = deployment["spec"]["template"]["spec"]
    return spec_of_pod


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_a_pod_needs_the_api_server_or_a_writable_root(case: str) -> None:
    assert pod(case)["automountServiceAccountToken"] is False
    (container,) = pod(case)["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "envFrom" not in container


def test_a_token_is_a_file_and_never_a_variable() -> None:
    (container,) = pod("private-model")["containers"]
    assert {one["name"]: one.get("value") for one in container["env"]}["SLIPWAY_MODEL_TOKEN_FILE"] == (
        "/var/run/slipway/source/token"
    )
    assert all("valueFrom" not in one for one in container["env"])


def test_the_pod_template_does_not_change_with_the_count_or_a_pause() -> None:
    digests = {
        case: next(child for child in rendered(case) if child["kind"] == "Deployment")["spec"]["template"]
        for case in ("minimal", "replicas", "paused")
    }
    assert digests["minimal"] == digests["replicas"] == digests["paused"]


def test_the_admin_port_is_on_no_service() -> None:
    service = next(child for child in rendered("minimal") if child["kind"] == "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def test_users_labels_and_variables_come_beside_ours() -> None:
    deployment = next(child for child in rendered("pod-template") if child["kind"] == "Deployment")
    metadata = deployment["spec"]["template"]["metadata"]
    assert metadata["labels"] == {"team": "search", **labels.of_children("emotions")}
    assert "team" not in deployment["metadata"]["labels"]
    names = [one["name"] for one in pod("pod-template")["containers"][0]["env"]]
    assert names[-3:] == ["LOG_FORMAT", "NODE", "FLAG"]
    assert len(names) == len(set(names))
