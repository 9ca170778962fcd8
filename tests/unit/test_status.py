"""The table of decisions/0003: phases, conditions, and what moves when."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator import conditions, reasons
from slipway_operator.model_endpoint import faults, status
from slipway_operator.model_endpoint.faults import Fault
from slipway_operator.model_endpoint.spec import Endpoint

from tests.support.builders import condition, stored
from tests.support.observed import (
    ending,
    observed,
    parsed,
    pod,
    ready,
    report,
    served,
    starting,
    template_of,
    unscheduled,
)

Object = dict[str, Any]
NOW = "2026-11-21T10:00:00Z"
OLD = "elsewhere"
"""The template of an earlier spec."""


def computed(
    endpoint: Endpoint, *pods: Any, fault: Fault | None = None, previous: Object | None = None, **more: Any
) -> Object:
    seen = observed(endpoint, *pods, **more)
    template = template_of(endpoint)
    fault = fault or faults.find(endpoint, seen, template)
    return status.compute(endpoint, seen, template=template, fault=fault, previous=previous or {}, now=NOW)


def fault_of(reason: reasons.Reason, **words: str) -> Fault:
    return Fault(reason, "what is wrong and what to do", reason.stalled, **words)


def told(found: Object) -> tuple[str, dict[str, tuple[str, str]]]:
    """Phase, and status and reason of each condition."""
    return found["phase"], {one["type"]: (one["status"], one["reason"]) for one in found["conditions"]}


ONE, TWO, OFF, ZERO = parsed(), parsed(replicas=2), parsed(paused=True, replicas=3), parsed(replicas=0)
T = template_of(ONE)
GONE, GPU, OOM = fault_of(reasons.MODEL_NOT_FOUND), fault_of(reasons.WAITING_FOR_GPU), fault_of(reasons.OUT_OF_MEMORY)
TAKEN = fault_of(reasons.NAME_CONFLICT, kind="Service")

Row = tuple[str, Endpoint, list[Any], Fault | None, str, str, str, str | None]
ROWS: list[Row] = [
    # name, endpoint, pods, fault → phase, Ready and its reason, Serving, Reconciling or Stalled
    ("nothing yet", ONE, [], None, "Initializing", "False PodsStarting", "False", "Reconciling"),
    ("no node", ONE, [starting("a", T)], GPU, "Pending", "False WaitingForGPU", "False", "Reconciling"),
    ("starting", ONE, [starting("a", T)], None, "Initializing", "False PodsStarting", "False", "Reconciling"),
    ("ready", ONE, [ready("a", T)], None, "Running", "True Running", "True", None),
    ("ready, one ending", ONE, [ready("a", T), ending("b", T)], None, "Running", "True Running", "True", None),
    ("scaling up", TWO, [ready("a", T), starting("b", T)], None, "Updating", "False RollingOut", "True", "Reconciling"),
    ("scaling down", ONE, [ready("a", T), ready("b", T)], None, "Updating", "False RollingOut", "True", "Reconciling"),
    (
        "rolling out",
        ONE,
        [ready("a", OLD), starting("b", T)],
        None,
        "Updating",
        "False RollingOut",
        "True",
        "Reconciling",
    ),
    ("old pods only", ONE, [ready("a", OLD)], None, "Updating", "False RollingOut", "True", "Reconciling"),
    (
        "one of two waits",
        TWO,
        [ready("a", T), starting("b", T)],
        GPU,
        "Updating",
        "False WaitingForGPU",
        "True",
        "Reconciling",
    ),
    ("pausing", OFF, [ending("a", T)], None, "Updating", "False Pausing", "False", "Reconciling"),
    ("pausing, not told yet", OFF, [ready("a", T)], None, "Updating", "False Pausing", "False", "Reconciling"),
    ("paused", OFF, [], None, "Paused", "True Paused", "False", None),
    ("scaled to nothing", ZERO, [], None, "Paused", "True Paused", "False", None),
    ("needs somebody", ONE, [starting("a", T)], GONE, "Failed", "False ModelNotFound", "False", "Stalled"),
    (
        "the same in a rollout",
        ONE,
        [ready("a", OLD), starting("b", T)],
        GONE,
        "UpdateFailed",
        "False ModelNotFound",
        "True",
        "Stalled",
    ),
    ("may pass by itself", ONE, [starting("a", T)], OOM, "Initializing", "False OOMKilled", "False", "Reconciling"),
    (
        "the URL is somebody else's",
        ONE,
        [ready("a", T)],
        TAKEN,
        "UpdateFailed",
        "False NameConflict",
        "False",
        "Stalled",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_phase_and_conditions(row: Row) -> None:
    _, endpoint, pods, fault, phase, is_ready, serving, third = row
    found = computed(endpoint, *pods, fault=fault)
    said, found_conditions = told(found)
    assert said == phase
    assert " ".join(found_conditions["Ready"]) == is_ready
    assert found_conditions["Serving"][0] == serving
    # kstatus: present only while True, never both.
    assert {kind for kind in ("Reconciling", "Stalled") if kind in found_conditions} == ({third} if third else set())
    if third:
        assert found_conditions[third] == ("True", found_conditions["Ready"][1])


def test_every_phase_of_the_table_has_a_row() -> None:
    assert {row[4] for row in ROWS} == {
        "Pending",
        "Initializing",
        "Running",
        "Updating",
        "Paused",
        "Failed",
        "UpdateFailed",
    }


@pytest.mark.parametrize("reason", [reason for reason in reasons.FAULTS if reason.condition])
def test_the_further_condition_is_there_only_while_false(reason: reasons.Reason) -> None:
    with_fault = told(computed(ONE, starting("a", T), fault=fault_of(reason)))[1]
    assert with_fault[reason.condition or ""] == ("False", reason.name)
    assert set(told(computed(ONE, ready("a", T)))[1]) == {"Ready", "Serving"}


def test_each_condition_carries_the_generation_it_was_computed_from() -> None:
    found = computed(parsed(generation=7))
    assert found["observedGeneration"] == 7
    assert {one["observedGeneration"] for one in found["conditions"]} == {7}


def test_a_transition_time_moves_only_with_the_status() -> None:
    before = computed(ONE, starting("a", T))
    for one in before["conditions"]:
        one["lastTransitionTime"] = "2026-11-21T09:00:00Z"
    after = computed(ONE, starting("a", T), fault=GONE, previous=before)
    times = {one["type"]: one["lastTransitionTime"] for one in after["conditions"]}
    assert times == {
        "Ready": "2026-11-21T09:00:00Z",
        "Serving": "2026-11-21T09:00:00Z",
        "Stalled": NOW,
        "ModelAvailable": NOW,
    }
    running = computed(ONE, ready("a", T), previous=before)
    assert {one["lastTransitionTime"] for one in running["conditions"]} == {NOW}


def test_nothing_new_gives_an_equal_status() -> None:
    before = computed(ONE, ready("a", T), reports={"a": report("Ready", model=served())})
    assert computed(ONE, ready("a", T), previous=before) == before


def test_what_others_wrote_beside_ours_is_no_difference() -> None:
    mine = computed(ONE, ready("a", T))
    shared = {**mine, "conditions": [condition("Audited"), *reversed(mine["conditions"])]}
    assert status.own(shared) == mine
    assert status.own({}) == {}


def test_counts_url_and_selector_are_what_kubectl_scale_and_callers_need() -> None:
    found = computed(TWO, ready("a", T), starting("b", T), ending("c", T))
    assert (found["replicas"], found["readyReplicas"]) == (2, 1)
    assert found["url"] == "http://emotions.default.svc"
    assert found["selector"] == "slipway.dev/endpoint=emotions"


def test_the_model_is_what_a_ready_pod_of_this_spec_says() -> None:
    found = computed(ONE, ready("a", T), reports={"a": report("Ready", model=served())})
    assert found["model"] == {
        "id": "sentence-transformers/all-MiniLM-L6-v2",
        "revision": "c0ffee",
        "task": "feature-extraction",
        "format": "safetensors",
        "sizeBytes": 9,
    }


@pytest.mark.parametrize("other", [starting("a", T), ready("a", OLD)])
def test_the_model_of_other_pods_is_not_taken(other: Any) -> None:
    assert "model" not in computed(ONE, other, reports={"a": report("Loading", model=served())})


def test_the_model_is_kept_while_paused_and_dropped_with_another_source() -> None:
    before = computed(ONE, ready("a", T), reports={"a": report("Ready", model=served())})
    assert computed(parsed(paused=True), previous=before)["model"] == before["model"]
    assert "model" not in computed(parsed(model={"id": "other/model"}), previous=before)


def test_a_new_revision_of_the_same_model_replaces_the_old_one() -> None:
    before = computed(ONE, ready("a", T), reports={"a": report("Ready", model=served(revision="old"))})
    after = computed(ONE, ready("a", T), reports={"a": report("Ready", model=served(revision="new"))}, previous=before)
    assert after["model"]["revision"] == "new"


@pytest.mark.parametrize(
    ("before", "known"),
    [
        ({"phase": "Running", "observedGeneration": 2, "model": {}}, True),
        ({"phase": "Paused", "observedGeneration": 2, "model": {}}, True),
        ({"phase": "Running", "observedGeneration": 2}, False),
        ({"phase": "Running", "observedGeneration": 1, "model": {}}, False),
        ({"phase": "Updating", "observedGeneration": 2, "model": {}}, False),
        ({}, False),
    ],
)
def test_pods_are_asked_until_their_model_is_known_for_this_generation(before: Object, known: bool) -> None:
    assert status.known_model(before, 2) is known


def test_progress_is_that_of_the_slowest_download_and_goes_when_it_ends() -> None:
    reports = {
        "a": report("Downloading", percent=70.9, seconds=5),
        "b": report("Downloading", percent=12.0, seconds=60.5),
    }
    found = computed(TWO, starting("a", T), starting("b", T), reports=reports)
    assert found["progress"] == {"stage": "Downloading", "percent": 12, "estimatedSeconds": 60}
    assert told(found)[1]["Ready"] == ("False", "PodsStarting")  # one reason for a whole start: one write less
    assert "progress" not in computed(TWO, starting("a", T), starting("b", T), reports={"a": report("Loading")})
    assert "progress" not in computed(TWO, starting("a", T), starting("b", T), reports=reports, fault=GONE)


def test_a_pod_that_the_scheduler_holds_back_is_pending() -> None:
    held = unscheduled("0/1 nodes are available: 1 Insufficient cpu.", template=T)
    phase, found = told(computed(ONE, held))
    assert (phase, found["Ready"], found["Scheduled"]) == (
        "Pending",
        ("False", "Unschedulable"),
        ("False", "Unschedulable"),
    )


def test_messages_of_a_pause_say_how_to_resume() -> None:
    messages = [conditions.find(computed(one)["conditions"], "Ready") or {} for one in (OFF, ZERO)]
    assert "3 replicas again" in messages[0]["message"]
    assert "Scale to 1 or more" in messages[1]["message"]


def test_an_unusable_spec_leaves_what_was_known() -> None:
    before = computed(ONE, ready("a", T), reports={"a": report("Ready", model=served())})
    obj = {**stored(generation=4), "status": before}
    found = status.invalid(obj, "spec.model has id and uri; give exactly one.", now=NOW)
    assert found["model"] == before["model"]
    assert found["url"] == before["url"]
    assert found["observedGeneration"] == 4
    assert told(found) == (
        "Failed",
        {
            "Ready": ("False", "InvalidSpec"),
            "Serving": ("True", "PodsReady"),
            "SpecValid": ("False", "InvalidSpec"),
            "Stalled": ("True", "InvalidSpec"),
        },
    )
    assert told(status.invalid(stored(), "x", now=NOW))[1]["Serving"] == ("False", "NoPodReady")


def test_pods_that_are_done_are_no_compute() -> None:
    from slipway_operator.model_endpoint.pod import holds_compute

    assert [holds_compute(pod(phase=phase)) for phase in ("Pending", "Running", "Succeeded", "Failed")] == [
        True,
        True,
        False,
        False,
    ]
