"""What the chart puts into the operator's environment is what the operator's settings read."""

from __future__ import annotations

from slipway_operator.settings import VARIABLES, Settings

from tests.support.chart import render


def environment(values: dict[str, object]) -> dict[str, str]:
    """The container's variables, with the downward API's answered as the kubelet would."""
    answers = {"metadata.namespace": "slipway-system", "metadata.name": "slipway-0"}
    (deployment,) = [thing for thing in render(values) if thing["kind"] == "Deployment"]
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return {e["name"]: e["value"] if "value" in e else answers[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in env}


def test_the_operator_reads_every_variable_that_the_chart_sets() -> None:
    assert set(environment({})) <= set(VARIABLES)


def test_the_defaults() -> None:
    settings = Settings.from_environment(environment({}))
    assert (settings.namespace, settings.pod_name, settings.lease_name) == ("slipway-system", "slipway-0", "slipway")
    assert settings.watch_namespaces == ()
    assert not settings.hub_endpoint
    assert settings.log_level == "INFO"
    assert settings.runtime_image.startswith("slipway-runtime:")


def test_values_arrive() -> None:
    values: dict[str, object] = {
        "watchNamespaces": ["a", "b"],
        "huggingFace": {"endpoint": "http://hub:8090"},
        "logLevel": "WARNING",
        "runtime": {"image": {"repository": "localhost:5000/slipway-runtime", "tag": "dev"}},
    }
    settings = Settings.from_environment(environment(values))
    assert settings.watch_namespaces == ("a", "b")
    assert settings.hub_endpoint == "http://hub:8090"
    assert settings.log_level == "WARNING"
    assert settings.runtime_image == "localhost:5000/slipway-runtime:dev"


def test_the_ports_of_the_probes_are_those_that_the_operator_opens() -> None:
    settings = Settings.from_environment(environment({}))
    (deployment,) = [thing for thing in render() if thing["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": settings.health_port, "metrics": settings.metrics_port}
    probes = {container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"health"}
