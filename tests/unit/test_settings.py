"""Settings from the environment: each mistake is told by variable, value and what is allowed."""

from __future__ import annotations

import re

import pytest
from slipway_operator import settings
from slipway_operator.settings import Settings, SettingsError

GIVEN = {"SLIPWAY_NAMESPACE": "slipway-system", "SLIPWAY_POD_NAME": "slipway-0", "SLIPWAY_RUNTIME_IMAGE": "runtime:1"}


def test_defaults_hold_for_what_is_absent_or_empty() -> None:
    found = Settings.from_environment({**GIVEN, "SLIPWAY_HUB_ENDPOINT": "", "SLIPWAY_WORKERS": ""})
    assert found == Settings(namespace="slipway-system", pod_name="slipway-0", runtime_image="runtime:1")


def test_every_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="SLIPWAY_NAMESPACE, SLIPWAY_POD_NAME, SLIPWAY_RUNTIME_IMAGE: not set"):
        Settings.from_environment({"SLIPWAY_NAMESPACE": ""})


BAD = [
    ("SLIPWAY_WORKERS", "0", "from 1 to 1000"),
    ("SLIPWAY_WORKERS", "many", "not a number"),
    ("SLIPWAY_WORKERS", "1.5", "not a number"),
    ("SLIPWAY_HEALTH_PORT", "70000", "from 1 to 65535"),
    ("SLIPWAY_METRICS_PORT", "-1", "from 1 to 65535"),
    ("SLIPWAY_RESYNC_SECONDS", "0", "above 0"),
    ("SLIPWAY_RESYNC_SECONDS", "-5", "above 0"),
    ("SLIPWAY_RESYNC_SECONDS", "nan", "above 0"),
    ("SLIPWAY_RESYNC_SECONDS", "inf", "above 0"),
    ("SLIPWAY_WATCH_SILENCE_SECONDS", "1 minute", "not a number"),
    ("SLIPWAY_HUB_ENDPOINT", "hub.example.com", "http:// or https://"),
    ("SLIPWAY_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR"),
]


@pytest.mark.parametrize(("variable", "value", "allowed"), BAD)
def test_an_unusable_value_is_refused(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is '{re.escape(value)}'.*{allowed}"):
        Settings.from_environment({**GIVEN, variable: value})


@pytest.mark.parametrize(("renew", "deadline", "duration"), [(5, 5, 15), (5, 15, 15), (5, 20, 15), (12, 10, 15)])
def test_times_under_which_two_could_lead_are_refused(renew: int, deadline: int, duration: int) -> None:
    times = {
        "SLIPWAY_LEASE_RENEW_SECONDS": str(renew),
        "SLIPWAY_LEASE_DEADLINE_SECONDS": str(deadline),
        "SLIPWAY_LEASE_DURATION_SECONDS": str(duration),
    }
    with pytest.raises(SettingsError, match="two processes may lead at once"):
        Settings.from_environment({**GIVEN, **times})


def test_namespaces_are_taken_once_each() -> None:
    found = Settings.from_environment({**GIVEN, "SLIPWAY_WATCH_NAMESPACES": " team-a, team-b,,team-a "})
    assert found.watch_namespaces == ("team-a", "team-b")


def test_every_variable_fills_a_field_of_its_type() -> None:
    values = {"log_level": "debug", "hub_endpoint": "https://hub.example.com/"}
    times = {"lease_renew": "1", "lease_deadline": "2", "lease_duration": "3"}
    given = {name: (values | times).get(field, "7") for name, (field, _) in settings.VARIABLES.items()}
    found = Settings.from_environment(given)
    assert (found.log_level, found.hub_endpoint) == ("DEBUG", "https://hub.example.com")
    assert (found.workers, found.health_port, found.resync, found.watch_namespaces) == (7, 7, 7.0, ("7",))
    assert len(given) == len({field for field, _ in settings.VARIABLES.values()})
