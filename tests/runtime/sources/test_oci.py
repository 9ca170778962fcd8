"""oci://… from a real registry (docker-registry): artifacts of files, images with a model inside, credentials."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_runtime.artifacts import transfer
from slipway_runtime.artifacts.credentials import read_docker

from tests.runtime.sources.conftest import WEIGHTS, Fetch, is_the_model
from tests.support import cutting
from tests.support.archives import entry
from tests.support.registry import INDEX, MANIFEST, Registry, docker_config, image_layer, registry
from tests.support.runtime_server import free_ports, serving


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def hub(open_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.01)
    return open_registry


def uri(hub: Registry, reference: str) -> str:
    return f"oci://{hub.host}/{reference}"


def test_an_artifact_of_files_is_fetched_by_tag_and_by_digest(hub: Registry, model: Path, fetch: Fetch) -> None:
    digest = hub.push_files("team/emotions", "v1", model)
    got = fetch(uri(hub, "team/emotions:v1"), plain=hub.host)
    assert is_the_model(got, model)
    assert got.revision == digest
    assert fetch.progress.percent == 100
    pinned = fetch(uri(hub, f"team/emotions@{digest}"), plain=hub.host)
    assert pinned.revision == digest


def test_a_tag_that_moved_is_followed(hub: Registry, model: Path, fetch: Fetch, tmp_path: Path) -> None:
    first = fetch_pushed(hub, model, fetch)
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "generation_config.json").write_text("{}")
    assert fetch_pushed(hub, other, fetch) != first


def fetch_pushed(hub: Registry, folder: Path, fetch: Fetch) -> str | None:
    hub.push_files("team/moving", "v1", folder)
    return fetch(uri(hub, "team/moving:v1"), plain=hub.host).revision


def test_titles_with_a_folder_around_the_model(hub: Registry, model: Path, fetch: Fetch) -> None:
    layers = [hub.file_layer("team/within", f"out/bert/{p.name}", p.read_bytes()) for p in sorted(model.iterdir())]
    hub.push("team/within", "v1", layers)
    assert is_the_model(fetch(uri(hub, "team/within:v1"), plain=hub.host), model)


def test_an_image_with_the_model_in_models_is_read_through_its_layers(hub: Registry, model: Path, fetch: Fetch) -> None:
    """Base layers may hold links, as every base image does. Later layers replace and remove."""
    base = io.BytesIO()
    with gzip.open(base, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        entry("bin/sh", kind=tarfile.SYMTYPE, link="busybox")(archive)
        entry("dev/null", kind=tarfile.CHRTYPE)(archive)
        entry("models/README.txt", b"old")(archive)
        entry("models/config.json", b"{}")(archive)
        entry("models/vocab.txt", b"of another model")(archive)
    removed = image_layer(None, extra={"models/.wh.vocab.txt": b""})
    layers = [hub.tar_layer("team/car", packed) for packed in (base.getvalue(), image_layer(model), removed)]
    digest = hub.push("team/car", "v1", layers)
    got = fetch(uri(hub, "team/car:v1"), plain=hub.host)
    assert is_the_model(got, model)
    assert got.revision == digest
    assert not any(name.endswith(".part") for name in fetch.files)


def test_an_emptied_folder_starts_anew(hub: Registry, model: Path, fetch: Fetch) -> None:
    old = image_layer(None, extra={"models/vocab.txt": b"old", "models/x.model": b"old"})
    new = image_layer(model, extra={"models/.wh..wh..opq": b""})
    hub.push("team/opaque", "v1", [hub.tar_layer("team/opaque", layer) for layer in (old, new)])
    got = fetch(uri(hub, "team/opaque:v1"), plain=hub.host)
    assert is_the_model(got, model)


def test_a_folder_that_oras_packed(hub: Registry, model: Path, fetch: Fetch) -> None:
    packed = image_layer(model, at="emotions")
    layer = hub.tar_layer("team/folder", packed) | {
        "annotations": {"org.opencontainers.image.title": "emotions", "io.deis.oras.content.unpack": "true"}
    }
    hub.push("team/folder", "v1", [layer])
    assert is_the_model(fetch(uri(hub, "team/folder:v1"), plain=hub.host), model)


def test_of_an_index_the_entry_for_this_machine_is_taken(hub: Registry, model: Path, fetch: Fetch) -> None:
    import platform

    here = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    digest = hub.push_files("team/many", "here", model)
    other = hub.push("team/many", "other", [hub.file_layer("team/many", "config.json", b"{}")])
    entries = [(other, "unknown", "unknown"), (other, "linux", "s390x"), (digest, "linux", here)]
    manifests = [
        {"mediaType": MANIFEST, "digest": d, "size": 500, "platform": {"os": system, "architecture": machine}}
        for d, system, machine in entries
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    hub.manifest("team/many", "v1", index, INDEX)
    assert fetch(uri(hub, "team/many:v1"), plain=hub.host).revision == digest
    two = [
        {**entry, "platform": {"os": "linux", "architecture": name}}
        for name, entry in zip("ab", manifests, strict=False)
    ]
    hub.manifest("team/many", "v2", {**index, "manifests": two}, INDEX)
    fault = fetch.fault(lambda: fetch(uri(hub, "team/many:v2"), plain=hub.host))
    assert f"its index has no manifest for linux/{here}" in fault.message


def test_a_missing_tag_is_named(hub: Registry, fetch: Fetch) -> None:
    fault = fetch.fault(lambda: fetch(uri(hub, "team/none:v1"), plain=hub.host))
    assert (fault.reason, fault.param) == ("ModelNotFound", "model.uri")


TRICKS = {
    "link": entry("models/vocab.txt", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": entry("models/vocab.txt", kind=tarfile.LNKTYPE, link="etc/passwd"),
    "device": entry("models/vocab.txt", kind=tarfile.CHRTYPE),
    "twice": entry("models/config.json", b"{}"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_an_image_with_a_trick_where_the_model_is_is_refused(
    hub: Registry, model: Path, fetch: Fetch, trick: str
) -> None:
    packed = io.BytesIO()
    with gzip.open(packed, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(model, "models")
        TRICKS[trick](archive)
    name = f"team/{trick.replace(' ', '-')}"
    hub.push(name, "v1", [hub.tar_layer(name, packed.getvalue())])
    fault = fetch.fault(lambda: fetch(uri(hub, f"{name}:v1"), plain=hub.host))
    assert fault.reason == "UnsafeFormat"
    assert "config.json" not in fetch.files


def test_titles_that_lead_out_or_name_other_files_are_not_written(
    hub: Registry, model: Path, fetch: Fetch, tmp_path: Path
) -> None:
    layers = [hub.file_layer("team/titles", p.name, p.read_bytes()) for p in sorted(model.iterdir())]
    evil = (
        "../../../../escaped.json",
        "/tmp/slipway-escaped",
        "config.json\n",
        "handler2.py",
        "..\\x.json",
        "a/../../b",
    )
    layers += [hub.file_layer("team/titles", title, b"evil") for title in evil]
    hub.push("team/titles", "v1", layers)
    assert is_the_model(fetch(uri(hub, "team/titles:v1"), plain=hub.host), model)
    assert not Path("/tmp/slipway-escaped").exists()
    assert not list(tmp_path.rglob("*escaped*"))


def test_two_layers_of_one_title_are_refused(hub: Registry, model: Path, fetch: Fetch) -> None:
    layers = [hub.file_layer("team/double", p.name, p.read_bytes()) for p in sorted(model.iterdir())]
    hub.push("team/double", "v1", [*layers, hub.file_layer("team/double", "config.json", b"{}")])
    fault = fetch.fault(lambda: fetch(uri(hub, "team/double:v1"), plain=hub.host))
    assert fault.reason == "UnsafeFormat"
    assert "two layers have the title 'config.json'" in fault.message


def test_bytes_that_changed_on_the_registrys_disk_are_corrupt(tmp_path: Path, model: Path, fetch: Fetch) -> None:
    with registry(tmp_path / "own") as own:
        own.push_files("m", "v1", model)
        right = (model / WEIGHTS).read_bytes()
        digest = hashlib.sha256(right).hexdigest()
        [blob] = (tmp_path / "own/data").rglob(f"{digest}/data")
        wrong = right[:-1] + bytes([right[-1] ^ 1])
        blob.write_bytes(wrong)
        fault = fetch.fault(lambda: fetch(uri(own, "m:v1"), plain=own.host))
        assert fault.reason == "ModelCorrupt"
        assert digest in fault.message
        assert hashlib.sha256(wrong).hexdigest() in fault.message
        assert not fetch.files & {WEIGHTS, f"{WEIGHTS}.part"}
        blob.write_bytes(right)
        assert is_the_model(fetch(uri(own, "m:v1"), plain=own.host), model)


@pytest.mark.parametrize("packed", [False, True], ids=["files", "image"])
def test_connections_that_break_go_on_by_range(hub: Registry, model: Path, fetch: Fetch, packed: bool) -> None:
    name = f"team/cut-{'image' if packed else 'files'}"
    if packed:
        hub.push(name, "v1", [hub.tar_layer(name, image_layer(model))])
    else:
        hub.push_files(name, "v1", model)
    with cutting.line_to(int(hub.host.rpartition(":")[2])) as line:
        line.cut_after, line.cuts = 400_000, 3
        assert is_the_model(fetch(f"oci://{line.host}/{name}:v1", plain=line.host), model)
        assert line.done >= 2


def test_credentials_come_from_a_docker_config(tmp_path: Path, model: Path, fetch: Fetch) -> None:
    with registry(tmp_path / "closed", closed=True) as closed:
        closed.push_files("m", "v1", model)
        fault = fetch.fault(lambda: fetch(uri(closed, "m:v1"), plain=closed.host))
        assert (fault.reason, fault.param) == ("ModelGated", "model.tokenSecretRef")
        assert "no credentials for this registry are given" in fault.message
        secret = tmp_path / "source"
        secret.mkdir()
        (secret / ".dockerconfigjson").write_text(docker_config(closed.host, password="not-this-one"))
        fault = fetch.fault(lambda: fetch(uri(closed, "m:v1"), token=secret, plain=closed.host))
        assert fault.reason == "ModelGated"
        assert "with the given credentials" in fault.message
        assert "not-this-one" not in fault.message
        (secret / ".dockerconfigjson").write_text(docker_config(closed.host))
        assert is_the_model(fetch(uri(closed, "m:v1"), token=secret, plain=closed.host), model)


def test_helpers_that_a_docker_config_names_are_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"credsStore": "evil", "credHelpers": {"r.example": "evil"}, "auths": {}})
    )
    assert read_docker(str(tmp_path), "r.example") is None
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {"https://r.example/v1/": {"username": "u", "password": "p"}}})
    )
    assert read_docker(str(tmp_path / "config.json"), "r.example") == ("u", "p")


@pytest.mark.parametrize(
    "text", ["hf_token", "[]", "{}", '{"auths": {"r.example": {}}}', '{"auths": {"r.example": {"auth": "?"}}}']
)
def test_a_docker_config_of_another_form_is_said_without_showing_it(fetch: Fetch, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    fault = fetch.fault(lambda: fetch("oci://r.example/m:v1", token=tmp_path / "token"))
    assert fault.reason == "ModelGated"
    assert "is not Docker's config.json" in fault.message
    assert text not in fault.message


def test_plain_http_is_not_tried_unless_the_host_is_named(hub: Registry, model: Path, fetch: Fetch) -> None:
    hub.push_files("team/plain", "v1", model)
    fault = fetch.fault(lambda: fetch(uri(hub, "team/plain:v1")))
    assert fault.reason == "SourceUnreachable"


def test_a_server_restarts_without_its_registry(tmp_path: Path, model: Path) -> None:
    [port] = free_ports(1)
    host = f"127.0.0.1:{port}"
    variables = {
        "SLIPWAY_MODEL_URI": f"oci://{host}/m:v1",
        "SLIPWAY_PLAIN_HTTP_HOSTS": host,
        "SLIPWAY_CACHE_DIR": str(tmp_path / "cache"),
    }
    with registry(tmp_path / "registry", port=port) as own:
        digest = own.push_files("m", "v1", model)
        with serving(tmp_path / "first", True, **variables) as server:
            assert server.wait_for_stage("Ready")["model"]["revision"] == digest
            server.lines()
    with serving(tmp_path / "second", True, **variables) as server:
        status = server.wait_for_stage("Ready")
        assert (status["model"]["revision"], status["model"]["fromCache"]) == (digest, True)
        assert server.post({"inputs": "a film"}).status_code == 200
