"""The cache: what the watch said last, and what our own writes returned since."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator import kinds, labels
from slipway_operator.cluster import store as stores
from slipway_operator.cluster.store import Store
from slipway_operator.kinds import Key

KEY = Key("default", "emotions")


def obj(version: int, name: str = "emotions", *, uid: str = "u1", endpoint: str = "emotions", **more: Any) -> Any:
    meta = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**meta, "labels": {labels.ENDPOINT: endpoint}, **more}}


@pytest.fixture
def store() -> Store:
    return Store(kinds.SERVICE)


def version(store: Store, key: Key = KEY) -> str | None:
    held = store.get(key)
    return None if held is None else held["metadata"]["resourceVersion"]


def test_our_own_write_is_read_back_before_the_watch_brings_it(store: Store) -> None:
    store.put(obj(1))
    assert store.put(obj(5))
    assert version(store) == "5"


def test_an_event_older_than_our_write_is_passed_over(store: Store) -> None:
    store.put(obj(5))
    assert not store.put(obj(4))
    assert not store.put(obj(5))
    assert version(store) == "5"


def test_a_late_answer_to_a_write_does_not_bring_a_deleted_object_back(store: Store) -> None:
    store.put(obj(1))
    store.remove(obj(9))
    assert not store.put(obj(7))
    assert version(store) is None


def test_an_object_made_anew_under_the_same_name_replaces_the_old(store: Store) -> None:
    store.put(obj(1))
    store.remove(obj(9))
    assert store.put(obj(10, uid="u2"))
    assert version(store) == "10"


def test_a_late_deletion_does_not_take_the_successor(store: Store) -> None:
    store.put(obj(1))
    store.put(obj(10, uid="u2"))
    assert not store.remove(obj(9))
    assert version(store) == "10"


def test_a_late_answer_about_the_predecessor_does_not_replace_the_successor(store: Store) -> None:
    store.put(obj(10, uid="u2"))
    assert not store.put(obj(8, uid="u1"))
    assert version(store) == "10"


def test_a_list_tells_what_was_deleted_unseen(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.put(obj(1, name))
    changed = store.replace([obj(1, "a"), obj(7, "b")], 8)
    assert changed == {Key("default", "b"), Key("default", "c")}
    assert {key.name for key in store} == {"a", "b"}


def test_a_list_older_than_our_write_does_not_drop_it(store: Store) -> None:
    store.put(obj(20))
    assert store.replace([], 15) == set()
    assert version(store) == "20"


def test_objects_are_found_by_the_endpoint_that_their_label_names(store: Store) -> None:
    store.put(obj(1, "p1"))
    store.put(obj(1, "p2"))
    store.put(obj(1, "p3", endpoint="other"))
    assert {one["metadata"]["name"] for one in store.of_endpoint(KEY)} == {"p1", "p2"}
    store.put(obj(2, "p2", endpoint="other"))
    store.remove(obj(3, "p1"))
    assert store.of_endpoint(KEY) == []


def test_managed_fields_are_not_kept(store: Store) -> None:
    store.put(obj(1, managedFields=[{"manager": "kubectl"}]))
    held = store.get(KEY)
    assert held is not None
    assert "managedFields" not in held["metadata"]


def test_tombstones_do_not_grow_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "TOMBSTONES", 3)
    for number in range(10):
        store.remove(obj(number + 1, f"x{number}"))
    assert len(store._deleted) == 3


def test_a_cleared_store_is_empty(store: Store) -> None:
    store.put(obj(1))
    assert store.clear() == {KEY}
    assert len(store) == 0
    assert store.of_endpoint(KEY) == []
