"""/status as the operator reads it: pods are not trusted to be sane."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slipway_operator import contract
from slipway_operator.contract import parse_status

FULL = {
    "kind": "serve",
    "stage": "Ready",
    "percent": 40,
    "estimatedSeconds": 12.5,
    "error": {"code": 67, "reason": "ModelGated", "message": "accept the licence", "param": "model.id"},
    "model": {"id": "a/b", "revision": "c0ffee", "task": "fill-mask", "format": "safetensors", "sizeBytes": 2**40},
}


def test_what_decisions_0002_writes_down_is_read() -> None:
    found = parse_status(orjson.dumps(FULL))
    assert found is not None and found.error is not None and found.model is not None
    assert (found.stage, found.percent, found.estimated_seconds) == ("Ready", 40.0, 12.5)
    assert (found.error.code, found.error.reason, found.error.message) == (67, "ModelGated", "accept the licence")
    assert (found.model.revision, found.model.size_bytes) == ("c0ffee", 2**40)


def test_unknown_keys_are_ignored_and_absent_ones_are_null() -> None:
    found = parse_status(b'{"stage": "Loading", "invented": {"by": "a newer runtime"}}')
    assert found == contract.RuntimeStatus("Loading", None, None, None, None)


JUNK = [
    b"",
    b"\0",
    b"not json",
    b"[]",
    b"3",
    b"null",
    b"{}",
    b'{"stage": 3}',
    b'{"stage": null}',
    b"{" * 5000,
    b'{"stage": "Loa',
]


@pytest.mark.parametrize("body", JUNK)
def test_an_answer_of_another_shape_is_no_answer(body: bytes) -> None:
    assert parse_status(body) is None


@pytest.mark.parametrize(
    ("said", "read"), [(250, 100.0), (-3, 0.0), (True, None), ("40", None), (None, None), (1e300, 100.0), ([], None)]
)
def test_a_percentage_is_one_that_the_status_can_hold(said: Any, read: float | None) -> None:
    found = parse_status(orjson.dumps({"stage": "Downloading", "percent": said}))
    assert found is not None
    assert found.percent == read


def test_numbers_fit_into_the_status() -> None:
    numbers = b'"estimatedSeconds": 1e300, "model": {"sizeBytes": 18446744073709551615}, "error": {"code": 1e99}'
    body = b'{"stage": "x", ' + numbers + b"}"
    found = parse_status(body)
    assert found is not None and found.model is not None
    assert found.estimated_seconds == 2.0**53
    assert found.model.size_bytes == 2**53


def test_texts_are_cut() -> None:
    found = parse_status(orjson.dumps({"stage": "Failed", "error": {"message": "x" * 60_000, "reason": "R"}}))
    assert found is not None and found.error is not None
    assert len(found.error.message) == 1024


anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
shaped = st.fixed_dictionaries(
    {"stage": st.text()},
    optional={
        "percent": anything,
        "estimatedSeconds": anything,
        "error": anything
        | st.fixed_dictionaries({}, optional={"code": anything, "reason": anything, "message": anything}),
        "model": anything
        | st.fixed_dictionaries({}, optional={"id": anything, "sizeBytes": anything, "task": anything}),
    },
)


@given(anything | shaped)
def test_no_json_raises(value: Any) -> None:
    parse_status(orjson.dumps(value))


@given(st.binary(max_size=200))
def test_no_bytes_raise(body: bytes) -> None:
    parse_status(body)


def test_what_is_not_given_is_left_to_the_runtimes_default() -> None:
    env = contract.serve_environment(
        endpoint="e", model_id="a/b", revision=None, model_path=None, has_token=False, task=None, hub_endpoint=None
    )
    assert [one["name"] for one in env] == [
        "SLIPWAY_ENDPOINT",
        "SLIPWAY_MODEL_ID",
        "SLIPWAY_CACHE_DIR",
        "SLIPWAY_DRAIN_SECONDS",
    ]
