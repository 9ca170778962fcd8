"""Which pods are an endpoint's: labels are anybody's to write, a controller reference is not."""

from __future__ import annotations

import pytest
from slipway_operator.model_endpoint.pod import made_for

from tests.support.observed import Object, pod

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "emotions-5cf96", "uid": "u", "controller": True}


def owned(owner: Object | None = None, template_hash: str = "5cf96") -> Object:
    owners = [] if owner is None else [owner]
    return pod(metadata={"labels": {"pod-template-hash": template_hash}, "ownerReferences": owners})


def test_a_pod_of_its_replica_set_is_the_endpoints() -> None:
    assert made_for("emotions", owned(OWNER))


@pytest.mark.parametrize(
    "stranger",
    [
        owned(),
        owned(OWNER | {"controller": False}),
        owned(OWNER | {"kind": "Job"}),
        owned(OWNER | {"name": "another-5cf96"}),
        owned(OWNER, template_hash="other"),
        pod(),
    ],
    ids=["nobody's", "not controlled", "a Job's", "another Deployment's", "another template's", "without labels"],
)
def test_a_pod_that_only_carries_the_labels_is_not(stranger: Object) -> None:
    assert not made_for("emotions", stranger)
