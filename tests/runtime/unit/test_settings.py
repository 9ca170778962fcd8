"""Settings from the environment: what is refused and how."""

from __future__ import annotations

import dataclasses
import json
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
        ("SLIPWAY_DTYPE", "int3", "SLIPWAY_DTYPE='int3': must be one of auto, float32, bfloat16, float16"),
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


DIGEST = "a" * 64


def source(uri: str, **changes: str) -> Settings:
    return Settings.from_env({"SLIPWAY_MODEL_URI": uri} | changes)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/x.tar", "must begin with s3://, https:// or oci://"),
        ("org/name", "a Hub repository is SLIPWAY_MODEL_ID"),
        ("pvc://claim/path", "the operator, which then sets SLIPWAY_MODEL_PATH"),
        ("s3://B/x", "must be s3://bucket/prefix"),
        ("s3://bucket/../x", "must be s3://bucket/prefix"),
        ("https://host/x.rar", "must end with .tar.gz, .tgz, .tar, .zip"),
        ("https://host/x.zip", "needs a sha256 beside it"),
        ("https://user:secret@host/x.zip", "must hold no user or password"),
        ("http://host:80/x.zip", "plain HTTP only with host:80 in SLIPWAY_PLAIN_HTTP_HOSTS"),
        ("oci://host.example/repo", "must be oci://registry/repository:tag or"),
        ("oci://Repo/x:1", "must be oci://registry/repository:tag or"),
        ("oci://host.example/repo@sha256:abc", "must be oci://registry/repository:tag or"),
    ],
)
def test_a_source_that_cannot_be_used_is_named_without_its_secrets(uri: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        source(uri)
    assert str(caught.value).startswith("SLIPWAY_MODEL_URI='")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("digest", ["A" * 64, "a" * 63, "sha256:" + "a" * 64])
def test_a_digest_has_64_digits(digest: str) -> None:
    with pytest.raises(SettingsError, match="must be 64 hexadecimal digits in lower case"):
        source("https://host/x.zip?X-Amz-Signature=secret", SLIPWAY_MODEL_SHA256=digest)


@pytest.mark.parametrize(
    ("uri", "name", "changes"),
    [
        ("s3://models/team/emotions/", "emotions", {}),
        ("s3://models", "s3://models", {}),
        ("https://host/a/emotions.tar.gz?sig=1", "emotions", {"SLIPWAY_MODEL_SHA256": DIGEST}),
        (
            "http://site.svc:8000/emotions.zip",
            "emotions",
            {"SLIPWAY_MODEL_SHA256": DIGEST, "SLIPWAY_PLAIN_HTTP_HOSTS": "a, site.svc"},
        ),
        ("oci://registry.example/team/emotions:v1", "emotions", {}),
        ("oci://localhost:5000/emotions:v1", "emotions", {}),
        (f"oci://registry:5000/emotions@sha256:{DIGEST}", "emotions", {}),
    ],
)
def test_a_source_that_can_be_used_has_a_short_name(uri: str, name: str, changes: dict[str, str]) -> None:
    assert source(uri, **changes).model_name == name


@pytest.mark.parametrize(
    ("adapters", "words"),
    [
        ("{", "SLIPWAY_ADAPTERS is not JSON"),
        ("{}", "SLIPWAY_ADAPTERS must be a JSON list of objects"),
        ('[{"name": "a"}]', "[0] (a) must have exactly one of id, path, uri"),
        ('[{"name": "a", "id": "o/n", "path": "/x"}]', "[0] (a) must have exactly one of id, path, uri"),
        ('[{"name": "", "id": "o/n"}]', "[0].name is ''"),
        ('[{"name": "a", "id": "o/n", "rank": "8"}]', "[0].rank must be one of name, id, path, uri, revision"),
        ('[{"name": "a", "id": 3}]', "[0].id must be one of"),
        ('[{"name": "a", "id": "o/n/x"}]', "[0].id of a: 'o/n/x' must be a Hub repository, owner/name"),
        ('[{"name": "a", "uri": "https://h/x.zip"}]', "[0].uri of a: needs a sha256 beside it"),
        ('[{"name": "a", "path": "/x", "revision": "v1"}]', "[0].path of a: a revision goes with id only"),
        ('[{"name": "a", "id": "o/n"}, {"name": "a", "id": "o/m"}]', "has two adapters with the name 'a'"),
        ('[{"name": "org/name", "id": "o/n"}]', "the name 'org/name' is the model's own already"),
        ('[{"name": "tgi", "id": "o/n"}]', "the name 'tgi' is the model's own already"),
    ],
)
def test_adapters_that_cannot_be_used_are_named(adapters: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(SLIPWAY_ADAPTERS=adapters)
    assert words in str(caught.value)


def test_adapters_take_the_models_token_where_the_source_is_of_the_same_kind() -> None:
    entries = [
        {"name": "a", "id": "o/a", "revision": "v1"},
        {"name": "b", "uri": "s3://models/b"},
        {"name": "c", "uri": "s3://models/c", "tokenFile": "/run/c"},
    ]
    found = settings(SLIPWAY_ADAPTERS=json.dumps(entries), SLIPWAY_MODEL_TOKEN_FILE="/run/hub")
    assert found.variant_names == ("a", "b", "c")
    assert [variant.reference.token_file for variant in found.variants] == ["/run/hub", "", "/run/c"]
    assert found.variants[0].reference.shown == "o/a@v1"


def test_a_digest_without_an_archive_is_said() -> None:
    with pytest.raises(SettingsError, match="SLIPWAY_MODEL_SHA256 goes with an https:// archive"):
        settings(SLIPWAY_MODEL_SHA256=DIGEST)
    with pytest.raises(SettingsError, match="a sha256 goes with https:// only"):
        source("s3://models/x", SLIPWAY_MODEL_SHA256=DIGEST)


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
