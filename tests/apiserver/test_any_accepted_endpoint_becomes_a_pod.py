"""Whatever the CRD lets through becomes a Deployment that the API server accepts: tried with generated values.

The values are near the borders on purpose, so many endpoints are refused by the CRD; that is fine. A Deployment that is
refused after its endpoint was accepted is a rule that the CRD lacks.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from slipway_operator.model_endpoint.render import children
from slipway_operator.model_endpoint.spec import parse
from slipway_operator.settings import Settings

from tests.support.apiserver import Cluster
from tests.support.builders import endpoint

SETTINGS = Settings(namespace="slipway-system", pod_name="slipway-0", runtime_image="slipway-runtime:1")

usual = st.sampled_from(["a", "b", "A-b.c_9", "example.com/a"])
words = st.one_of(
    usual, usual, usual, st.text(alphabet="aZ0-_. /~", max_size=6), st.sampled_from(["a" * 63, "a" * 64, "ä", ""])
)
names = st.sampled_from(["a", "a-b", "a.b", "a0", "0", "A", "", "a b", "a" * 253])
amounts = st.sampled_from(
    [0, 1, 2, "0", "1", "500m", "1Gi", "1.5Gi", "1e3", "0.1", "1e", "-1", "1k", "1E", ".5", "5.", "+1"]
)
resource_names = st.sampled_from(
    ["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu", "hugepages-2Mi", "gpu", "a/b"]
)
amounts_of = st.dictionaries(resource_names, amounts, max_size=4)
labels = st.dictionaries(words, words, max_size=3)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


tolerations = some(
    key=words,
    operator=st.sampled_from(["Exists", "Equal"]),
    value=words,
    effect=st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"]),
    tolerationSeconds=st.integers(-1, 10),
)
spread = st.fixed_dictionaries(
    {
        "maxSkew": st.integers(0, 3),
        "topologyKey": st.sampled_from(["a", "b", ""]),
        "whenUnsatisfiable": st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
        "labelSelector": st.just({}),
    },
    optional={"minDomains": st.integers(0, 2)},
)
keys = st.fixed_dictionaries({"name": names, "key": words}, optional={"optional": st.booleans()})
paths = st.sampled_from(
    ["metadata.name", "metadata.labels", "metadata.labels['a']", "metadata.labels['a b']", "status.podIP", "spec"]
)
sources = some(configMapKeyRef=keys, secretKeyRef=keys, fieldRef=st.fixed_dictionaries({"fieldPath": paths}))
variables = st.fixed_dictionaries({"name": words}, optional={"value": words, "valueFrom": sources})
# One part at a time: with all at once, hardly an endpoint would get past the CRD.
parts: dict[str, st.SearchStrategy[Any]] = {
    "labels": labels,
    "annotations": labels,
    "nodeSelector": labels,
    "tolerations": st.lists(tolerations, max_size=2),
    "topologySpreadConstraints": st.lists(spread, max_size=2),
    "priorityClassName": names,
    "runtimeClassName": names,
    "imagePullSecrets": st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
    "env": st.lists(variables, max_size=2),
}
specs = st.one_of(
    some(resources=some(requests=amounts_of, limits=amounts_of), replicas=st.integers(-1, 2)),
    *(some(podTemplate=st.fixed_dictionaries({name: values})) for name, values in parts.items()),
)


@settings(
    max_examples=300,
    derandomize=True,  # the same values in every run: a new find is not a flaky test
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(spec=specs)
def test_no_deployment_is_refused_whose_endpoint_was_accepted(cluster: Cluster, spec: dict[str, Any]) -> None:
    reply = cluster.post(endpoint(namespace="default", **spec), dry_run=True)
    if not reply.is_success:
        assert reply.status_code in (400, 422), reply.text
        return
    for child in children(parse(reply.json()), SETTINGS):
        accepted = cluster.post(child, dry_run=True)
        assert accepted.is_success, accepted.json()["message"]
