"""The Helm chart as the objects that it renders to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.apiserver import ROOT, Cluster, binary

Object = dict[str, Any]

CHART = ROOT / "helm" / "slipway"
NAMESPACE = "slipway-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:slipway"
"""The user that the operator is, installed as the demo does it."""

KUBE_VERSION = "1.34"  # helm asks no cluster when it renders, and takes the one that it was built with


def helm(*args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm; with `check` a failure raises with what helm said."""
    done = subprocess.run([binary("helm"), *args], check=False, input=stdin, text=True, capture_output=True)
    if check and done.returncode:
        raise AssertionError(f"helm {' '.join(args)}: {done.stderr.strip()}")
    return done


def template(
    values: Object | None = None, *, release: str = "slipway", upgrade: bool = False, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """`helm template` with these values; `upgrade` renders what an upgrade would, its hooks too."""
    where = ["--namespace", NAMESPACE, "--kube-version", KUBE_VERSION]
    more = ["--is-upgrade"] if upgrade else []
    # JSON, since helm's YAML is 1.1 and takes a bare y for true.
    text = json.dumps(values or {})
    return helm("template", release, str(CHART), *where, *more, "--values", "-", stdin=text, check=check)


def render(values: Object | None = None, *, release: str = "slipway", upgrade: bool = False) -> list[Object]:
    """The rendered objects, in the order in which helm applies them."""
    text = template(values, release=release, upgrade=upgrade).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def refusal(values: Object) -> str:
    """What helm says about values that it does not accept."""
    done = template(values, check=False)
    assert done.returncode != 0, f"helm accepted {values}"
    return done.stderr


def install_rights(cluster: Cluster, values: Object | None = None) -> None:
    """The chart without its Deployment: an operator outside the cluster then has exactly the rights of one inside."""
    objects = [thing for thing in render(values) if thing["kind"] not in ("Deployment", "PodDisruptionBudget")]
    namespaces = {NAMESPACE} | {thing["metadata"]["namespace"] for thing in objects if "namespace" in thing["metadata"]}
    cluster.apply(
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(namespaces))
    )
    cluster.apply(*objects)


def sources() -> list[Path]:
    """The chart's templates."""
    return sorted(path for path in (CHART / "templates").iterdir() if path.suffix in (".yaml", ".tpl", ".txt"))


Right = tuple[str, str, str]
"""API group ("" for the core), resource with subresource as in a Role, verb."""


def granted(values: Object | None = None) -> set[Right]:
    """What the chart lets the operator do, whatever the namespace; rights of people and of the CRD hook apart."""
    objects = render(values)
    bound = {t["roleRef"]["name"] for t in objects if t["kind"] in ("RoleBinding", "ClusterRoleBinding")}
    roles = [t for t in objects if t["kind"] in ("Role", "ClusterRole") and t["metadata"]["name"] in bound]
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(events: list[Object]) -> set[Right]:
    """What these audit events needed (`Cluster.audit(OPERATOR)`). Discovery is open to everybody and left out.

    A server-side apply that made the object is a `patch` in the log, and needed `create` as well.
    """
    rights: set[Right] = set()
    for event in events:
        if (target := event.get("objectRef")) is None or "resource" not in target:
            continue
        resource = "/".join(part for part in (target["resource"], target.get("subresource", "")) if part)
        rights.add((target.get("apiGroup", ""), resource, event["verb"]))
        if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
            rights.add((target.get("apiGroup", ""), resource, "create"))
    return rights
