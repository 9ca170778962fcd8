"""The chart as it lies in the repository: CRDs, rights, and golden files of what it renders to.

A golden file that differs on purpose is written anew by `UPDATE_GOLDEN=1 pytest tests/contract/test_chart_contents.py`.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import yaml

from tests.support.apiserver import ROOT
from tests.support.chart import CHART, render, sources

GOLDEN = ROOT / "tests" / "golden" / "chart"
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "default": ({}, False),
    "upgrade": ({}, True),
    "namespaces": ({"watchNamespaces": ["team-a", "team-b"], "userRoles": {"create": False}, "replicas": 1}, False),
    "mirror": (
        {
            "image": {"repository": "localhost:5000/slipway-operator", "tag": "dev", "pullPolicy": "Always"},
            "runtime": {"image": {"repository": "localhost:5000/slipway-runtime", "tag": "dev"}},
            "huggingFace": {"endpoint": "http://10.244.0.1:8090"},
            "networkPolicy": {"enabled": True},
        },
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rendered_as_in_the_golden_file(case: str) -> None:
    values, upgrade = CASES[case]
    text = yaml.safe_dump_all(render(values, upgrade=upgrade), sort_keys=False, width=120)
    golden = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text(), f"{golden.name} differs; if that is meant: UPDATE_GOLDEN=1"


def test_the_charts_crds_are_those_of_the_repository() -> None:
    ours = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    charts = {path.name: path.read_text() for path in (CHART / "crds").glob("*")}
    assert charts == ours, "run `make chart`"


def test_a_crd_fits_into_the_annotation_that_plain_kubectl_apply_writes() -> None:
    for path in (ROOT / "crds").glob("*.yaml"):
        compact = json.dumps(yaml.safe_load(path.read_text()), separators=(",", ":"))
        assert len(compact.encode()) < 200_000, (
            path.name
        )  # the API server's limit is 262,144 for all annotations together


def test_the_upgrade_hook_may_change_every_crd_of_the_chart_and_no_other() -> None:
    (role,) = [
        t for t in render(upgrade=True) if t["kind"] == "ClusterRole" and t["metadata"]["name"].endswith("-crd-upgrade")
    ]
    (rule,) = role["rules"]
    assert rule["resourceNames"] == [
        yaml.safe_load(path.read_text())["metadata"]["name"] for path in (CHART / "crds").iterdir()
    ]


def test_everything_of_the_upgrade_hook_goes_when_it_is_done() -> None:
    hooks = [thing for thing in render(upgrade=True) if "helm.sh/hook" in thing["metadata"].get("annotations", {})]
    assert sorted(thing["kind"] for thing in hooks) == ["ClusterRole", "ClusterRoleBinding", "Job", "ServiceAccount"]
    for hook in hooks:
        policy = hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")
        assert {"before-hook-creation", "hook-succeeded"} <= set(policy)
        assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade,pre-install"  # never at a rollback


def test_a_fresh_installation_runs_no_job() -> None:
    assert "Job" not in [thing["kind"] for thing in render()]
    assert "Job" not in [thing["kind"] for thing in render({"crds": {"upgradeHook": False}}, upgrade=True)]


RIGHTS = [
    (f"{thing['kind']} {thing['metadata']['name']}", rule)
    for values in ({}, {"watchNamespaces": ["team-a"]})
    for thing in render(values, upgrade=True)
    if thing["kind"] in ("Role", "ClusterRole")
    for rule in thing["rules"]
]


@pytest.mark.parametrize(("role", "rule"), RIGHTS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(RIGHTS)])
def test_no_right_is_wider_than_it_says(role: str, rule: dict[str, list[str]]) -> None:
    assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role
    assert not {"secrets", "pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token"} & set(
        rule["resources"]
    )
    assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
    assert "rbac.authorization.k8s.io" not in rule["apiGroups"]


def test_nothing_of_an_operator_of_some_namespaces_is_bound_cluster_wide() -> None:
    kinds = [thing["kind"] for thing in render({"watchNamespaces": ["team-a"], "crds": {"upgradeHook": False}})]
    assert "ClusterRoleBinding" not in kinds


def test_no_template_is_in_the_way_of_another_release() -> None:
    """Names come from the release, so that two releases can stand in one cluster."""
    first, second = (
        {(t["kind"], t["metadata"]["name"]) for t in render(release=name)} for name in ("slipway", "second")
    )
    assert not first & second


def test_no_template_names_a_registry() -> None:
    for path in [*sources(), CHART / "values.yaml", CHART / "Chart.yaml"]:
        for host in (".io/slipway", "ghcr", "quay", "gcr"):
            assert host not in path.read_text(), path.name
