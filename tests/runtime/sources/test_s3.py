"""s3://… from a real S3 server (versitygw): credentials, digests, lines that break, offline afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_runtime.artifacts import transfer
from slipway_runtime.artifacts.credentials import read_aws
from slipway_runtime.artifacts.s3 import _whole

from tests.runtime.sources.conftest import WEIGHTS, Fetch, broken_off, free_space, is_the_model
from tests.support import cutting
from tests.support.runtime_server import free_ports, serving
from tests.support.s3 import ACCESS, S3, SECRET, s3_server

URI = "s3://models/team/emotions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        found.upload(model, "models", "team/emotions")
        yield found


@pytest.fixture
def endpoint(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    monkeypatch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    return server


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """As a Secret is mounted."""
    return write_keys(tmp_path / "source")


def write_keys(folder: Path, secret: str = SECRET) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "accessKeyId").write_text(f"{ACCESS}\n")
    (folder / "secretAccessKey").write_text(f"{secret}\n")
    return folder


def test_a_prefix_is_fetched_with_keys_from_a_mounted_secret(
    endpoint: S3, model: Path, fetch: Fetch, keys: Path
) -> None:
    got = fetch(URI, token=keys)
    assert is_the_model(got, model)
    assert got.id == URI
    assert str(got.revision).startswith("etags:")
    assert fetch.progress.percent == 100


def test_keys_may_come_from_the_variables_that_boto3_knows(
    endpoint: S3, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert is_the_model(fetch(f"{URI}/"), model)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"accessKeyId": "a", "secretAccessKey": "s%s", "sessionToken": "t"}),
        "[default]\naws_access_key_id = a\naws_secret_access_key = s%s\naws_session_token = t\n",
        "[work]\naws_access_key_id=a\naws_secret_access_key=s%s\naws_session_token=t\n",
        "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=s%s\nAWS_SESSION_TOKEN=t\n",
    ],
)
def test_a_key_of_a_secret_may_hold_all_of_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    keys = read_aws(str(tmp_path / "token"))
    assert keys is not None
    assert (keys.access, keys.secret, keys.session) == ("a", "s%s", "t")
    assert "s%s" not in repr(keys)


@pytest.mark.parametrize("text", ["hf_token", "{}", "[]", "[default]\nother = x\n", '{"accessKeyId": "a"}', ""])
def test_a_file_without_keys_is_said_without_showing_it(fetch: Fetch, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    fault = fetch.fault(lambda: fetch(URI, token=tmp_path / "token"))
    assert (fault.reason, fault.param) == ("ModelGated", "model.tokenSecretRef")
    assert "holds no accessKeyId and secretAccessKey" in fault.message
    assert not text or text not in fault.message


def test_wrong_keys_are_refused_and_heal_without_a_restart(endpoint: S3, model: Path, tmp_path: Path) -> None:
    folder = write_keys(tmp_path / "source", "a-wrong-secret")
    variables = {
        "SLIPWAY_MODEL_URI": URI,
        "SLIPWAY_MODEL_TOKEN_FILE": str(folder),
        "AWS_ENDPOINT_URL_S3": endpoint.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        # The retry waits 5 minutes here, so that it is the changed file that wakes it.
        "SLIPWAY_RETRY_SECONDS": "300",
        "SLIPWAY_RETRY_MAX_SECONDS": "300",
    }
    with serving(tmp_path / "server", True, **variables) as server:
        error = server.wait_for_fault("ModelGated")
        assert error["param"] == "model.tokenSecretRef"
        assert f"access to {URI} was refused with the given credentials" in error["message"]
        write_keys(folder)
        status = server.wait_for_stage("Ready")
        assert status["model"]["id"] == URI
        assert server.post({"inputs": "a film"}).status_code == 200
        said = server.log.read_text() + str(server.status()) + server.metrics()
        assert "a-wrong-secret" not in said
        assert SECRET not in said
        assert ACCESS not in said


@pytest.mark.parametrize("uri", ["s3://absent/team", "s3://models/absent"])
def test_what_is_not_there_is_named(endpoint: S3, fetch: Fetch, keys: Path, uri: str) -> None:
    fault = fetch.fault(lambda: fetch(uri, token=keys))
    assert (fault.reason, fault.param) == ("ModelNotFound", "model.uri")
    assert uri in fault.message


def test_connections_that_break_go_on_by_range(
    endpoint: S3, model: Path, fetch: Fetch, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cutting.line_to(int(endpoint.url.rpartition(":")[2])) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{line.host}")
        line.cut_after, line.cuts = 400_000, 3
        assert is_the_model(fetch(URI, token=keys), model)
        assert line.done >= 2


@pytest.mark.parametrize(("options", "kind"), [({}, "md5"), ({"ChecksumAlgorithm": "SHA256"}, "sha256")])
def test_bytes_that_changed_on_the_servers_disk_are_corrupt(  # noqa: PLR0917 - fixtures
    tmp_path: Path,
    model: Path,
    fetch: Fetch,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    kind: str,
) -> None:
    with s3_server(tmp_path / "s3") as own:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", own.url)
        own.upload(model, "models", "m", **options)
        weights = tmp_path / "s3/data/models/m" / WEIGHTS
        right = weights.read_bytes()
        weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        fault = fetch.fault(lambda: fetch("s3://models/m", token=keys))
        assert fault.reason == "ModelCorrupt"
        assert f"{WEIGHTS} of s3://models/m has the {kind}" in fault.message
        assert not fetch.files & {WEIGHTS, f"{WEIGHTS}.part"}
        weights.write_bytes(right)
        assert is_the_model(fetch("s3://models/m", token=keys), model)


@pytest.mark.parametrize(
    ("checksum", "found"), [("AQI=", "0102"), ("AQI=-3", ""), ("", ""), (None, ""), ("A", ""), ("?", "")]
)
def test_a_servers_checksum_is_used_where_it_is_one_of_the_whole(checksum: str | None, found: str) -> None:
    assert _whole(checksum) == found


def test_what_arrived_before_needs_no_room_again(
    endpoint: S3, model: Path, fetch: Fetch, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = broken_off(fetch(URI, token=keys))
    free_space(monkeypatch, (model / WEIGHTS).stat().st_size - begun)
    assert is_the_model(fetch(URI, token=keys), model)


def test_an_object_that_was_uploaded_in_parts_is_checked_as_far_as_its_server_can(
    endpoint: S3, model: Path, fetch: Fetch, keys: Path
) -> None:
    """Its etag is no MD5."""
    from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]

    endpoint.upload(model, "models", "parts")
    client = endpoint.client()
    small = TransferConfig(multipart_threshold=5 * 1024**2, multipart_chunksize=5 * 1024**2)
    (fetch.cache / "large").mkdir(parents=True)
    large = fetch.cache / "large" / "tokenizer.model"
    large.write_bytes(bytes(6 * 1024**2))
    client.upload_file(str(large), "models", "parts/tokenizer.model", Config=small)
    client.close()
    got = fetch("s3://models/parts", token=keys)
    assert (got.folder / "tokenizer.model").read_bytes() == large.read_bytes()


def test_a_changed_object_is_another_revision(
    tmp_path: Path, model: Path, fetch: Fetch, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path / "s3") as own:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", own.url)
        own.upload(model, "models", "m")
        before = fetch("s3://models/m", token=keys)
        assert fetch("s3://models/m", token=keys).revision == before.revision
        client = own.client()
        client.put_object(Bucket="models", Key="m/generation_config.json", Body=b"{}")
        client.close()
        after = fetch("s3://models/m", token=keys)
        assert after.revision != before.revision
        assert (after.folder / "generation_config.json").exists()


def test_without_the_server_what_was_fetched_is_served_but_never_half_of_it(
    tmp_path: Path, model: Path, fetch: Fetch, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    with s3_server(tmp_path / "s3", port=port) as own:
        own.upload(model, "models", "m")
        got = fetch("s3://models/m", token=keys)
        assert got.offline == ""
    again = fetch("s3://models/m", token=keys)
    assert is_the_model(again, model)
    assert again.revision == got.revision
    assert "s3://models/m broke off" in again.offline
    (got.folder / WEIGHTS).write_bytes((got.folder / WEIGHTS).read_bytes()[:-10])
    assert fetch.fault(lambda: fetch("s3://models/m", token=keys)).reason == "SourceUnreachable"


def test_a_server_restarts_without_its_source_and_says_so(tmp_path: Path, model: Path, keys: Path) -> None:
    [port] = free_ports(1)
    variables = {
        "SLIPWAY_MODEL_URI": "s3://models/m",
        "SLIPWAY_MODEL_TOKEN_FILE": str(keys),
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "SLIPWAY_CACHE_DIR": str(tmp_path / "cache"),
    }
    with s3_server(tmp_path / "s3", port=port) as own:
        own.upload(model, "models", "m")
        with serving(tmp_path / "first", True, **variables) as server:
            first = server.wait_for_stage("Ready")
    with serving(tmp_path / "second", True, **variables) as server:
        status = server.wait_for_stage("Ready")
        assert status["model"] == first["model"] | {"fromCache": True}
        assert any("cannot be reached; what was fetched before is served" in line["message"] for line in server.lines())
        assert server.post({"inputs": "a film"}).status_code == 200
