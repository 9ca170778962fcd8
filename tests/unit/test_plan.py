"""What to do so that the cluster matches: apply, delete, or leave alone."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator.model_endpoint.observed import Observed
from slipway_operator.model_endpoint.plan import plan

from tests.support.observed import T2, live, parsed, rendered

Object = dict[str, Any]
ENDPOINT = parsed(replicas=2)
CHILDREN = rendered(ENDPOINT)


def seen(**children: Object) -> Observed:
    """All children as rendered, but for those given (None: absent)."""
    found = {child["kind"]: live(child) for child in CHILDREN} | children
    return Observed(uid=ENDPOINT.uid, children={kind: child for kind, child in found.items() if child is not None})


def of(kind: str, **metadata: Any) -> Object:
    return live(next(child for child in CHILDREN if child["kind"] == kind), **metadata)


def owner(**changes: Any) -> list[Object]:
    return [{**CHILDREN[0]["metadata"]["ownerReferences"][0], **changes}]


def test_nothing_is_done_where_everything_is_as_rendered() -> None:
    found = plan(CHILDREN, seen())
    assert (found.applies, found.deletes, found.taken) == ((), (), ())


def test_everything_absent_is_made_in_the_order_in_which_it_is_needed() -> None:
    found = plan(CHILDREN, Observed(uid=ENDPOINT.uid))
    kinds = ["ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"]
    assert [step.child["kind"] for step in found.applies] == kinds
    assert {step.why for step in found.applies} == {"it does not exist"}


def test_a_difference_is_told_by_its_path() -> None:
    changed = of("Deployment")
    changed["spec"] = {**changed["spec"], "replicas": 7}
    (step,) = plan(CHILDREN, seen(Deployment=changed)).applies
    assert step.why == "spec.replicas differs"


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        ([], "it has no controller"),
        (owner(controller=False), "it has no controller"),
        (owner(kind="HelmRelease", name="shop", uid="other"), "controlled by HelmRelease shop"),
        (owner(name="another", uid="other"), "controlled by ModelEndpoint another"),
    ],
)
def test_a_name_that_is_taken_is_neither_applied_nor_deleted(owners: list[Object], words: str) -> None:
    found = plan(CHILDREN, seen(Service=of("Service", ownerReferences=owners)))
    assert [(step.child["kind"], step.controller) for step in found.taken] == [("Service", words)]
    assert found.applies == ()
    assert found.deletes == ()


def test_children_of_a_deleted_namesake_are_waited_for() -> None:
    found = plan(CHILDREN, seen(Service=of("Service", ownerReferences=owner(uid="of the former"))))
    assert (found.applies, found.taken) == ((), ())


def test_an_object_that_is_going_away_is_not_applied() -> None:
    going = of("Service", deletionTimestamp=T2)
    going["spec"] = {}
    assert plan(CHILDREN, seen(Service=going)).applies == ()


def test_what_is_no_longer_rendered_is_deleted_if_it_is_ours() -> None:
    fewer = [child for child in CHILDREN if child["kind"] != "PodDisruptionBudget"]
    assert [obj["kind"] for obj in plan(fewer, seen()).deletes] == ["PodDisruptionBudget"]
    for spared in (of("PodDisruptionBudget", deletionTimestamp=T2), of("PodDisruptionBudget", ownerReferences=[])):
        assert plan(fewer, seen(PodDisruptionBudget=spared)).deletes == ()
