"""The rights that the chart grants are those that the operator uses.

Last of the folder: it reads what all tests before it did.
"""

from __future__ import annotations

import pytest

from tests.e2e.world import SYSTEM, World
from tests.support.kube import Object, environment

pytestmark = pytest.mark.skipif(
    not environment().local, reason="the audit log of somebody else's cluster is not ours to read"
)
Right = tuple[str, str, str]


def test_verbs_used_are_verbs_granted(world: World) -> None:
    """Run once more alone, after a failure, it still finds in the log what the others did a moment ago."""
    granted = rights_granted(world)
    assert rights_used(world.audit()) - granted == set()
    assert granted - rights_used(world.audit(begin=0)) == set(), "granted and never used"


def test_no_request_of_the_operator_was_forbidden(world: World) -> None:
    """But for the Lease: `helm uninstall` takes the rights away before the pods have ended and released it."""
    forbidden = [entry["requestURI"] for entry in world.audit() if entry["responseStatus"].get("code") == 403]
    assert [uri for uri in forbidden if "namespaces/slipway-e2e/" not in uri and "/leases/" not in uri] == []


def rights_used(audit: list[Object]) -> set[Right]:
    """From entries of the audit log. A patch answered with 201 made the object, which the API server allows only with
    `create`, too.
    """
    used: set[Right] = set()
    for entry in audit:
        where = entry.get("objectRef")
        if where is None or "resource" not in where:
            continue  # Discovery is open to every account.
        resource = "/".join(part for part in (where["resource"], where.get("subresource", "")) if part)
        used.add((where.get("apiGroup", ""), resource, entry["verb"]))
        if entry["verb"] == "patch" and entry["responseStatus"].get("code") == 201:
            used.add((where.get("apiGroup", ""), resource, "create"))
    return used


def rights_granted(world: World) -> set[Right]:
    granted: set[Right] = set()
    for kind, namespace in (("clusterroles", "default"), ("roles", SYSTEM)):
        for role in world.kube.all(kind, namespace, f"app.kubernetes.io/instance={world.release.name}"):
            if "rbac.authorization.k8s.io/aggregate-to-view" in role["metadata"]["labels"]:
                continue  # For users.
            if any("aggregate-to" in label for label in role["metadata"]["labels"]):
                continue
            for rule in role["rules"]:
                granted |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return granted
