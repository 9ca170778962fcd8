"""Settings from the environment: what is refused and how."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from slipway_runtime.settings import Settings, SettingsError

README = Path(__file__).parents[3] / "runtime-image/README.md"


def settings(**changes: str) -> Settings:
    return Settings.from_env({"SLIPWAY_MODEL_ID": "org/name"} | changes)


def test_defaults_are_those_of_the_contract() -> None:
    found = settings()
    assert (found.http_port, found.admin_port) == (8080, 9090)
    assert (found.model_revision, found.cache_dir) == ("main", "/var/cache/slipway")
    assert found.hf_endpoint == "https://huggingface.co"


def test_an_empty_variable_counts_as_absent() -> None:
    assert settings(SLIPWAY_MODEL_REVISION="", SLIPWAY_MAX_INPUTS=" ") == settings()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "SLIPWAY_HTTP_PORT",
            "http",
            "SLIPWAY_HTTP_PORT='http': must be a whole number of at least 0 and at most 65535",
        ),
        (
            "SLIPWAY_HTTP_PORT",
            "70000",
            "SLIPWAY_HTTP_PORT='70000': must be a whole number of at least 0 and at most 65535",
        ),
        ("SLIPWAY_MAX_INPUTS", "0", "SLIPWAY_MAX_INPUTS='0': must be a whole number of at least 1"),
        ("SLIPWAY_MAX_INPUTS", "1.5", "SLIPWAY_MAX_INPUTS='1.5': must be a whole number of at least 1"),
        (
            "SLIPWAY_DRAIN_SECONDS",
            "nan",
            "SLIPWAY_DRAIN_SECONDS='nan': must be a number of at least 0 and at most 3600",
        ),
        ("SLIPWAY_DRAIN_SECONDS", "-1", "SLIPWAY_DRAIN_SECONDS='-1': must be a number of at least 0 and at most 3600"),
        ("SLIPWAY_MODEL_ID", "a/b/c", "SLIPWAY_MODEL_ID='a/b/c': must be a Hub repository, owner/name"),
        ("SLIPWAY_MODEL_ID", "../etc", "SLIPWAY_MODEL_ID='../etc': must be a Hub repository, owner/name"),
        ("SLIPWAY_MODEL_ID", "a/..", "SLIPWAY_MODEL_ID='a/..': must be a Hub repository, owner/name"),
        ("SLIPWAY_MODEL_REVISION", "../x", "SLIPWAY_MODEL_REVISION='../x': must be a branch, a tag or a commit"),
        ("HF_ENDPOINT", "hub.local", "HF_ENDPOINT='hub.local': must begin with http:// or https://"),
        ("SLIPWAY_MODEL_PATH", "/m", "SLIPWAY_MODEL_ID='org/name' and SLIPWAY_MODEL_PATH='/m': set exactly one"),
        ("SLIPWAY_RETRY_MAX_SECONDS", "1", "SLIPWAY_RETRY_MAX_SECONDS=1: must be at least SLIPWAY_RETRY_SECONDS (10)"),
        ("SLIPWAY_ADMIN_PORT", "8080", "SLIPWAY_HTTP_PORT and SLIPWAY_ADMIN_PORT are both 8080: must differ"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_is_allowed(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{variable: value})
    assert str(caught.value) == sentence


def test_all_problems_are_told_at_once_and_the_rest_stays_usable() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"SLIPWAY_MAX_INPUTS": "x", "SLIPWAY_THREADS": "y", "SLIPWAY_HTTP_PORT": "81"})
    for name in ("SLIPWAY_MAX_INPUTS", "SLIPWAY_THREADS", "SLIPWAY_MODEL_ID"):
        assert name in str(caught.value)
    assert caught.value.usable.http_port == 81


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_variable_is_in_the_readme_with_its_default(field: dataclasses.Field[object]) -> None:
    default = (
        ""
        if field.default == ""
        else f"`{field.default:g}`"
        if isinstance(field.default, float)
        else f"`{field.default}`"
    )
    assert f"| `{field.metadata['env']}` | {default} | {field.metadata['doc']} |" in README.read_text()
