"""Somebody else changes our fields back: what is tried again, and how often."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from slipway_operator.cluster.fights import REPAIRS, WINDOW, Fights

from tests.support.clock import Clock
from tests.support.observed import live, parsed, rendered

CHILD = rendered(parsed(), "Deployment")
LIVE = live(CHILD)


def changed(image: str = "theirs", **spec: Any) -> Any:
    other = deepcopy(LIVE)
    other["spec"]["template"]["spec"]["containers"][0]["image"] = image
    other["spec"] |= spec
    return other


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fights(clock: Clock) -> Fights:
    return Fights(clock)


def test_what_a_webhook_undoes_within_our_request_is_not_sent_again(fights: Fights) -> None:
    assert not fights.hopeless(CHILD, changed())
    assert fights.applied(CHILD, LIVE, changed()) == "spec.template.spec.containers[serve].image"
    assert fights.hopeless(CHILD, changed())
    assert fights.hopeless(CHILD, changed("to another value"))


def test_another_difference_beside_it_is_applied(fights: Fights) -> None:
    fights.applied(CHILD, LIVE, changed())
    assert not fights.hopeless(CHILD, changed(replicas=9))


def test_another_spec_is_another_matter(fights: Fights) -> None:
    fights.applied(CHILD, LIVE, changed())
    assert not fights.hopeless(rendered(parsed(replicas=2), "Deployment"), changed())


def test_a_child_made_anew_is_another_matter(fights: Fights) -> None:
    fights.applied(CHILD, LIVE, changed())
    other = changed()
    other["metadata"]["uid"] = "new"
    assert not fights.hopeless(CHILD, other)


def test_a_few_changes_by_hand_are_all_repaired(fights: Fights, clock: Clock) -> None:
    for _ in range(REPAIRS - 1):
        assert not fights.hopeless(CHILD, changed())
        assert fights.applied(CHILD, changed(), LIVE) is None
        clock.advance(1)
    assert not fights.hopeless(CHILD, changed())


def test_a_controller_that_changes_a_field_back_is_answered_a_few_times_a_minute(fights: Fights, clock: Clock) -> None:
    writes = 0
    for _ in range(600):
        if not fights.hopeless(CHILD, changed()):
            writes += 1
            fights.applied(CHILD, changed(), LIVE)
        clock.advance(0.2)
    assert writes <= 2 * REPAIRS + 1
    clock.advance(WINDOW)
    assert not fights.hopeless(CHILD, changed())


def test_a_fight_over_one_field_does_not_stop_the_repair_of_another(fights: Fights) -> None:
    for _ in range(REPAIRS):
        told = fights.applied(CHILD, changed(), LIVE)
    assert told == "spec.template.spec.containers[serve].image"
    assert fights.hopeless(CHILD, changed())
    assert not fights.hopeless(CHILD, changed(replicas=9))


def test_changes_of_the_spec_are_no_fight(fights: Fights) -> None:
    for number in range(2 * REPAIRS):
        newer = rendered(parsed(replicas=number + 1), "Deployment")
        before = live(rendered(parsed(replicas=number), "Deployment"))
        assert fights.applied(newer, before, live(newer)) is None
        assert not fights.hopeless(newer, before)


def test_a_new_child_is_no_repair(fights: Fights) -> None:
    for _ in range(2 * REPAIRS):
        assert fights.applied(CHILD, None, LIVE) is None


def test_memory_is_bounded(fights: Fights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway_operator.cluster.fights.REMEMBERED", 3)
    for number in range(10):
        fights.applied(CHILD, None, live(CHILD, uid=str(number)))
    assert len(fights._children) == 3
