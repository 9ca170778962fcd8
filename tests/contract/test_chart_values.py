"""Values that a user gets wrong are refused before anything reaches a cluster, in words that name the value."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ROOT
from tests.support.chart import CHART, refusal, render, template

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"image": {"repo": "x"}}, "at '/image': additional properties 'repo' not allowed"),
        ({"runtime": {"image": {"name": "x"}}}, "at '/runtime/image': additional properties 'name' not allowed"),
        ({"huggingFace": {"token": "x"}}, "at '/huggingFace': additional properties 'token' not allowed"),
        (
            {"huggingFace": {"endpoint": "hub.example.com"}},
            "at '/huggingFace/endpoint': 'hub.example.com' does not match",
        ),
        ({"logLevel": "trace"}, "at '/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ({"watchNamespaces": "team-a"}, "at '/watchNamespaces': got string, want array"),
        ({"watchNamespaces": ["Team A"]}, "at '/watchNamespaces/0': 'Team A' does not match"),
        ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
        ({"image": {"tag": 1.2}}, "at '/image/tag': got number, want string"),
        ({"image": {"digest": "abc"}}, "at '/image/digest': 'abc' does not match"),
        ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
        ({"serviceAccount": {"create": False}}, "set serviceAccount.name to the account that the operator shall use"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(values: dict[str, Any], said: str) -> None:
    assert said in refusal(values)


def leaves(schema: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, part in schema.get("properties", {}).items():
        found[f"{path}{name}"] = part
        found |= leaves(part, f"{path}{name}.")
    return found


def test_every_value_is_in_the_schema_with_a_description_and_has_a_default() -> None:
    for path, part in leaves(SCHEMA).items():
        if path.startswith(("global", "imagePullSecrets.")):
            continue
        assert part.get("description"), f"{path} has no description in values.schema.json"
        value: Any = DEFAULTS
        for name in path.split("."):
            assert name in value, f"{path} is not in values.yaml"
            value = value[name]


def test_the_schema_is_closed_wherever_it_names_fields() -> None:
    for path, part in {"": SCHEMA, **leaves(SCHEMA)}.items():
        if "properties" in part:
            assert part["additionalProperties"] is False, path or "the top"


def test_values_of_a_parent_chart_are_accepted() -> None:
    template({"global": {"imageRegistry": "registry.example.com"}})


def test_every_value_is_explained_in_values_yaml() -> None:
    text = (CHART / "values.yaml").read_text()
    for name in DEFAULTS:
        assert re.search(rf"^{name}:", text, re.MULTILINE), name


# -- what the values become ------------------------------------------------------------------------------------------


def operator(values: dict[str, Any] | None = None, release: str = "slipway") -> dict[str, Any]:
    """The operator's Deployment."""
    (found,) = [thing for thing in render(values, release=release) if thing["kind"] == "Deployment"]
    return found


def container(values: dict[str, Any] | None = None, release: str = "slipway") -> dict[str, Any]:
    only: dict[str, Any] = operator(values, release)["spec"]["template"]["spec"]["containers"][0]
    return only


def variables(values: dict[str, Any] | None = None, release: str = "slipway") -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(values, release)["env"]}


def test_images_by_tag_by_digest_and_by_default() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert container()["image"] == f"slipway-operator:{version}"
    assert container({"image": {"repository": "r/o", "tag": "1"}})["image"] == "r/o:1"
    digest = "sha256:" + "a" * 64
    assert container({"image": {"repository": "r/o", "tag": "1", "digest": digest}})["image"] == f"r/o@{digest}"
    assert (
        variables({"runtime": {"image": {"repository": "r/r", "digest": digest}}})["SLIPWAY_RUNTIME_IMAGE"]
        == f"r/r@{digest}"
    )


def test_the_operators_environment() -> None:
    given = variables(
        {"watchNamespaces": ["a", "b"], "huggingFace": {"endpoint": "http://hub"}, "logLevel": "DEBUG"}, "prod"
    )
    assert given["SLIPWAY_WATCH_NAMESPACES"] == "a,b"
    assert given["SLIPWAY_HUB_ENDPOINT"] == "http://hub"
    assert given["SLIPWAY_LOG_LEVEL"] == "DEBUG"
    assert given["SLIPWAY_LEASE_NAME"] == "prod-slipway"
    assert given["SLIPWAY_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert given["SLIPWAY_POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_the_lease_that_may_be_patched_is_the_one_that_the_operator_is_told_to_use() -> None:
    for release in ("slipway", "prod"):
        named = {
            name
            for thing in render(release=release)
            for rule in thing.get("rules", [])
            for name in rule.get("resourceNames", [])
        }
        assert named == {variables(release=release)["SLIPWAY_LEASE_NAME"]}


def test_the_operators_pods_may_not_be_selected_as_endpoints() -> None:
    labels = operator()["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "Helm"
    assert not [key for key in labels if key.startswith("slipway.dev/")]


def test_labels_of_the_user_do_not_replace_those_that_select() -> None:
    made = operator({"podLabels": {"app.kubernetes.io/name": "x", "team": "y"}})
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["team"] == "y"


def test_one_replica_has_no_disruption_budget_that_would_keep_a_node_from_draining() -> None:
    kinds = [thing["kind"] for thing in render({"replicas": 1})]
    assert "PodDisruptionBudget" not in kinds


def test_the_chart_has_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == chart["version"] == project["version"]
