"""A spec as frozen dataclasses; what no schema checked is refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator.model_endpoint import spec
from slipway_operator.model_endpoint.spec import SecretKey, SpecError, VolumeSource

from tests.support.builders import stored
from tests.support.observed import parsed

BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"model": {}}, ["spec.model", "no source", "exactly one of id and uri"]),
    ({"model": {"id": "a/b", "uri": "pvc://c"}}, ["id and uri", "exactly one"]),
    ({"model": {"uri": "s3://bucket/x"}}, ["s3://bucket/x", "pvc://claim/path"]),
    ({"model": {"uri": "pvc://"}}, ["pvc://", "pvc://claim/path"]),
    ({"model": {"uri": "pvc:///path"}}, ["pvc:///path"]),
    ({"model": {"uri": "pvc://claim/../../etc"}}, ["pvc://claim/../../etc", "inside the volume"]),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_a_spec_that_cannot_be_rendered_is_refused_in_words(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as refused:
        parsed(**change)
    for word in words:
        assert word in str(refused.value)


def test_a_name_too_long_for_its_children_is_refused() -> None:
    assert parsed("a" * 45).name == "a" * 45
    with pytest.raises(SpecError, match=r"46 characters; at most 45.*shorter name"):
        parsed("a" * 46)


@pytest.mark.parametrize(
    ("uri", "source", "display"),
    [
        ("pvc://claim", VolumeSource("claim", ""), "pvc://claim"),
        ("pvc://claim/", VolumeSource("claim", ""), "pvc://claim"),
        ("pvc://claim/a/b/", VolumeSource("claim", "a/b"), "pvc://claim/a/b"),
        ("pvc://claim/a..b", VolumeSource("claim", "a..b"), "pvc://claim/a..b"),
    ],
)
def test_a_volume_is_a_claim_and_a_folder(uri: str, source: VolumeSource, display: str) -> None:
    model = parsed(model={"uri": uri}).model
    assert (model.volume, model.display) == (source, display)


def test_a_token_is_a_secret_and_its_key() -> None:
    assert parsed(model={"id": "a/b", "tokenSecretRef": {"name": "hub"}}).model.token == SecretKey("hub", "token")
    given = {"id": "a/b", "tokenSecretRef": {"name": "hub", "key": "read"}}
    assert parsed(model=given).model.token == SecretKey("hub", "read")


def test_pausing_keeps_the_count() -> None:
    endpoint = parsed(replicas=3, paused=True)
    assert (endpoint.replicas, endpoint.desired_replicas) == (3, 0)


def test_fields_for_the_pod_pass_through() -> None:
    template = {
        "labels": {"a": "b"},
        "env": [{"name": "X"}],
        "nodeSelector": {"disk": "ssd"},
        "priorityClassName": "high",
    }
    found = parsed(podTemplate=template).pod_template
    assert (found.labels, found.env, found.annotations) == ({"a": "b"}, [{"name": "X"}], {})
    assert found.pod_fields == {"nodeSelector": {"disk": "ssd"}, "priorityClassName": "high"}


def test_an_object_without_defaults_is_read_as_the_crd_would_have_it() -> None:
    obj = stored()
    obj["spec"] = {"model": {"id": "a/b"}}
    endpoint = spec.parse(obj)
    assert (endpoint.replicas, endpoint.paused, endpoint.resources, endpoint.task) == (1, False, {}, None)
