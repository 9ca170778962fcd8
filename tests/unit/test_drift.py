"""Drift: what the API server does to an object is none; what somebody else does to our fields is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slipway_operator import drift, labels
from slipway_operator.drift import difference, differences, stamped
from slipway_operator.model_endpoint.render import children
from slipway_operator.model_endpoint.spec import Endpoint

from tests.support.observed import SETTINGS, parsed, rendered

Object = dict[str, Any]

FULL: dict[str, Any] = {
    "model": {"id": "org/name", "revision": "v1", "tokenSecretRef": {"name": "hub"}},
    "task": "feature-extraction",
    "replicas": 3,
    "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi", "nvidia.com/gpu": 1}, "requests": {"cpu": 0.5}},
    "podTemplate": {
        "labels": {"team": "a"},
        "annotations": {"note": "b"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
        "imagePullSecrets": [{"name": "registry"}],
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1, "labelSelector": {}}
        ],
    },
}
KINDS = ("ServiceAccount", "Service", "Deployment", "PodDisruptionBudget")


def canonical(quantity: Any) -> str:
    """Some of the spellings into which the API server turns quantities."""
    return {"1000m": "1", "1024Mi": "1Gi", "0.5": "500m"}.get(str(quantity), str(quantity))


def as_stored(wanted: Object) -> Object:
    """The object as the API server returns it: identity, defaults, canonical quantities, empties dropped."""
    live = deepcopy(wanted)
    live["metadata"] |= {
        "uid": "u",
        "resourceVersion": "5",
        "generation": 2,
        "creationTimestamp": "2026-11-21T09:00:00Z",
    }
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    live["status"] = {"replicas": 1}
    if wanted["kind"] == "Service":
        live["spec"] |= {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "ClusterIP"}
    if wanted["kind"] == "Deployment":
        pod = live["spec"]["template"]["spec"]
        pod |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}
        pod["serviceAccount"] = pod["serviceAccountName"]
        for volume in pod["volumes"]:
            if "secret" in volume:
                volume["secret"]["defaultMode"] = 420
        container = pod["containers"][0]
        container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            container[probe] |= {"successThreshold": 1}
            container[probe]["httpGet"]["scheme"] = "HTTP"
        for item in container["env"]:
            if item.get("value") == "":
                del item["value"]
        for amounts in container["resources"].values():
            amounts |= {name: canonical(value) for name, value in amounts.items()}
    return live


def scalars(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all scalars in a JSON value."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in scalars(item, (*path, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in scalars(item, (*path, index))]
    return [path]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


ENDPOINT: Endpoint = parsed(**FULL)
CHILDREN: dict[str, Object] = {child["kind"]: child for child in children(ENDPOINT, SETTINGS)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_api_server_adds_is_no_difference(kind: str) -> None:
    assert list(differences(CHILDREN[kind], as_stored(CHILDREN[kind]))) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(extra=st.dictionaries(st.text(min_size=1, max_size=8).map(lambda name: f"x{name}"), json_values, max_size=4))
def test_fields_that_we_do_not_render_are_never_a_difference(extra: dict[str, Any]) -> None:
    live = as_stored(CHILDREN["Deployment"])
    for place in (live["spec"], live["spec"]["template"]["spec"], live["spec"]["template"]["spec"]["containers"][0]):
        for name, value in extra.items():
            place.setdefault(name, value)
    assert difference(CHILDREN["Deployment"], live) is None


PATHS = [(kind, path) for kind in KINDS for path in scalars(CHILDREN[kind])]


@pytest.mark.parametrize(
    ("kind", "path"), PATHS, ids=lambda part: "" if isinstance(part, str) else ".".join(map(str, part))
)
def test_any_changed_scalar_is_found(kind: str, path: tuple[Any, ...]) -> None:
    live = as_stored(CHILDREN[kind])
    value = at(CHILDREN[kind], path)
    holder = at(live, path[:-1])
    holder[path[-1]] = (not value) if isinstance(value, bool) else 77 if isinstance(value, int) else f"{value}x"
    assert difference(CHILDREN[kind], live) is not None


@pytest.mark.parametrize(
    ("kind", "path"), PATHS, ids=lambda part: "" if isinstance(part, str) else ".".join(map(str, part))
)
def test_any_removed_scalar_is_found(kind: str, path: tuple[Any, ...]) -> None:
    live = as_stored(CHILDREN[kind])
    if at(CHILDREN[kind], path) == "":
        return  # the API server drops it, too
    holder = at(live, path[:-1])
    del holder[path[-1]]
    assert difference(CHILDREN[kind], live) is not None


KEYED = ["containers", "volumes"]


@pytest.mark.parametrize("field", ["env", "volumeMounts", "ports"])
def test_a_strangers_list_item_is_tolerated_and_a_removed_one_of_ours_is_found(field: str) -> None:
    wanted = CHILDREN["Deployment"]
    stranger = {
        "env": {"name": "ZZ"},
        "volumeMounts": {"mountPath": "/zz"},
        "ports": {"containerPort": 1234, "protocol": "TCP"},
    }
    live = as_stored(wanted)
    items = live["spec"]["template"]["spec"]["containers"][0][field]
    items.insert(0, stranger[field])
    assert difference(wanted, live) is None
    del items[1]
    assert (difference(wanted, live) or "").startswith(f"spec.template.spec.containers[serve].{field}[")


@pytest.mark.parametrize("field", KEYED)
def test_a_sidecar_or_volume_of_an_injector_is_tolerated(field: str) -> None:
    wanted = CHILDREN["Deployment"]
    live = as_stored(wanted)
    live["spec"]["template"]["spec"][field].insert(0, {"name": "injected"})
    assert difference(wanted, live) is None
    live["spec"]["template"]["spec"][field].pop()
    assert difference(wanted, live) is not None


def test_a_strangers_port_on_the_service_is_tolerated() -> None:
    live = as_stored(CHILDREN["Service"])
    live["spec"]["ports"].insert(0, {"name": "extra", "port": 9, "protocol": "TCP", "targetPort": 9})
    assert difference(CHILDREN["Service"], live) is None
    live["spec"]["ports"][1]["port"] = 81
    assert difference(CHILDREN["Service"], live) == "spec.ports[80,TCP]"


def test_a_strangers_key_in_the_services_selector_is_found() -> None:
    live = as_stored(CHILDREN["Service"])
    live["spec"]["selector"]["canary"] = "true"
    assert difference(CHILDREN["Service"], live) == "spec.selector.canary"


def test_an_atomic_list_is_compared_as_a_whole() -> None:
    live = as_stored(CHILDREN["Deployment"])
    live["spec"]["template"]["spec"]["tolerations"].append({"key": "other"})
    assert difference(CHILDREN["Deployment"], live) == "spec.template.spec.tolerations"


def test_labels_and_finalizers_of_others_are_tolerated() -> None:
    live = as_stored(CHILDREN["Service"])
    live["metadata"]["labels"]["argocd"] = "x"
    live["metadata"]["finalizers"] = ["somebody/else"]
    live["metadata"]["ownerReferences"].insert(0, {"uid": "other", "kind": "X"})
    assert difference(CHILDREN["Service"], live) is None


def test_a_field_that_is_no_longer_rendered_is_told_by_the_digest() -> None:
    before = rendered(parsed(**FULL), "Deployment")
    after = rendered(parsed(**{**FULL, "podTemplate": {}}), "Deployment")
    assert f"metadata.annotations.{labels.RENDERED}" in list(differences(after, as_stored(before)))


def test_all_differences_are_told_not_just_the_first() -> None:
    live = as_stored(CHILDREN["Deployment"])
    live["spec"]["replicas"] = 9
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    assert list(differences(CHILDREN["Deployment"], live)) == [
        "spec.replicas",
        "spec.template.spec.containers[serve].image",
    ]


QUANTITIES = st.one_of(
    st.integers(0, 10**6).flatmap(
        lambda n: st.sampled_from([(n * 1000, "m"), (n, "")]).map(lambda p: (n, f"{p[0]}{p[1]}"))
    ),
    st.integers(0, 10**4).flatmap(lambda n: st.sampled_from([f"{n * 1024}Mi", f"{n}Gi"]).map(lambda s: (n * 2**30, s))),
    st.integers(0, 10**4).flatmap(
        lambda n: st.sampled_from([f"{n * 1000}M", f"{n}G", f"{n}e9"]).map(lambda s: (n * 10**9, s))
    ),
)


@given(left=QUANTITIES, right=QUANTITIES)
def test_quantities_are_equal_exactly_when_their_amounts_are(left: tuple[int, str], right: tuple[int, str]) -> None:
    wanted = {"limits": {"cpu": left[1]}}
    assert (difference(wanted, {"limits": {"cpu": right[1]}}) is None) == (left[0] == right[0])


def test_a_quantity_that_cannot_be_read_is_compared_as_text() -> None:
    assert difference({"limits": {"cpu": "many"}}, {"limits": {"cpu": "many"}}) is None
    assert difference({"limits": {"cpu": "many"}}, {"limits": {"cpu": "1"}}) == "limits.cpu"


@given(json_values)
def test_a_digest_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    def turned(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: turned(item[key]) for key in reversed(item)}
        return [turned(one) for one in item] if isinstance(item, list) else item

    assert drift.digest(turned(value)) == drift.digest(value)


def test_stamping_leaves_the_rendered_object_as_it_was() -> None:
    made = {"kind": "X", "metadata": {"name": "a", "annotations": {"k": "v"}}}
    before = deepcopy(made)
    assert stamped(made)["metadata"]["annotations"] == {"k": "v", labels.RENDERED: drift.digest(made)}
    assert made == before
