"""metav1.Condition, and which changes of it are announced."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator import conditions
from slipway_operator.conditions import Condition
from slipway_operator.model_endpoint.announce import announcements

from tests.support.builders import condition


def test_conditions_are_sorted_so_that_equal_ones_are_equal() -> None:
    found = conditions.render([Condition("B", True, "R", "m"), Condition("A", False, "R", "m")], [], 1, "now")
    assert [one["type"] for one in found] == ["A", "B"]


def test_a_message_longer_than_the_crd_allows_is_cut() -> None:
    (found,) = conditions.render([Condition("A", True, "R", "m" * 50_000)], [], 1, "now")
    assert len(found["message"]) == 32768


def status(ready: bool, reason: str, message: str = "words") -> dict[str, Any]:
    return {"conditions": [condition("Serving"), condition("Ready", ready, reason, message)]}


CASES = [
    ("ready", {}, status(True, "Running"), [("Running", False)]),
    ("a fault", status(False, "PodsStarting"), status(False, "ImagePullFailed"), [("ImagePullFailed", True)]),
    ("another fault", status(False, "ImagePullFailed"), status(False, "OOMKilled"), [("OOMKilled", True)]),
    ("the same in other words", status(False, "OOMKilled", "1"), status(False, "OOMKilled", "2"), []),
    ("on the way", status(True, "Running"), status(False, "RollingOut"), []),
    ("recovered", status(False, "ImagePullFailed"), status(True, "Running"), [("Running", False)]),
    ("nothing new", status(True, "Paused"), status(True, "Paused"), []),
]


@pytest.mark.parametrize(("before", "after", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_change_of_what_ready_says_is_announced_once(
    before: dict[str, Any], after: dict[str, Any], expected: list[tuple[str, bool]]
) -> None:
    assert [(one.reason, one.warning) for one in announcements(before, after)] == expected


def test_an_announcement_says_what_the_condition_says() -> None:
    assert announcements({}, status(False, "ImagePullFailed", "the words"))[0].message == "the words"
