"""oci://… from a real registry (docker-registry): artifacts of files, images with a model inside, credentials."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_runtime.artifacts import layers as image_layers
from slipway_runtime.artifacts import oci, transfer
from slipway_runtime.artifacts.credentials import read_docker

from tests.runtime.sources.conftest import WEIGHTS, Fetch, broken_off, free_space, is_the_model
from tests.support import cutting
from tests.support.archives import endless, entry
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


@pytest.mark.parametrize("platform", [{}, {"platform": None}, {"platform": {}}], ids=["absent", "null", "empty"])
def test_of_an_index_with_one_entry_that_one_is_taken(
    hub: Registry, model: Path, fetch: Fetch, platform: dict[str, object]
) -> None:
    digest = hub.push_files("team/one", "files", model)
    entry = {"mediaType": MANIFEST, "digest": digest, "size": 500, **platform}
    hub.manifest("team/one", "v1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX)
    assert fetch(uri(hub, "team/one:v1"), plain=hub.host).revision == digest


def test_what_an_indexs_digest_means_is_still_known_without_the_registry(
    tmp_path: Path, model: Path, fetch: Fetch
) -> None:
    with registry(tmp_path / "own") as own:
        digest = own.push_files("m", "files", model)
        entry = {"mediaType": MANIFEST, "digest": digest, "size": 500}
        index = own.manifest("m", "v1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX)
        assert index != digest
        fetch(uri(own, f"m@{index}"), plain=own.host)
    again = fetch(uri(own, f"m@{index}"), plain=own.host)
    assert is_the_model(again, model)
    assert (again.revision, bool(again.offline)) == (digest, True)


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


def test_a_file_beside_the_models_folder_is_no_second_one_in_it(hub: Registry, model: Path, fetch: Fetch) -> None:
    layers = [hub.file_layer("team/beside", f"bert/{p.name}", p.read_bytes()) for p in sorted(model.iterdir())]
    layers.append(hub.file_layer("team/beside", "tokenizer.json", b"{}"))
    hub.push("team/beside", "v1", layers)
    assert is_the_model(fetch(uri(hub, "team/beside:v1"), plain=hub.host), model)


def test_more_layers_than_are_read_are_refused_and_not_left_out(
    hub: Registry, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci, "MOST_LAYERS", 3)
    hub.push_files("team/layers", "v1", model)
    fault = fetch.fault(lambda: fetch(uri(hub, "team/layers:v1"), plain=hub.host))
    assert fault.reason == "ModelCorrupt"
    assert "its manifest has more than 3 layers" in fault.message


def test_more_files_in_all_layers_than_any_image_has_are_refused(
    hub: Registry, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_layers, "MOST_IN_IMAGE", 3)
    hub.push("team/files", "v1", [hub.tar_layer("team/files", image_layer(model))])
    fault = fetch.fault(lambda: fetch(uri(hub, "team/files:v1"), plain=hub.host))
    assert fault.reason == "UnsafeFormat"
    assert "its layers have more than 3 files" in fault.message


def test_what_arrived_before_needs_no_room_again(
    hub: Registry, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a volume that holds the model and not much more, an attempt that broke off can be gone on with."""
    hub.push_files("team/room", "v1", model)
    begun = broken_off(fetch(uri(hub, "team/room:v1"), plain=hub.host))
    free_space(monkeypatch, (model / WEIGHTS).stat().st_size - begun)
    assert is_the_model(fetch(uri(hub, "team/room:v1"), plain=hub.host), model)


def test_what_arrived_before_of_an_image_needs_no_room_again(
    hub: Registry, model: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = [image_layer(None, extra={"models/README.md": b"a"}), image_layer(model)]
    layers = [hub.tar_layer("team/room-image", content) for content in packed]
    hub.push("team/room-image", "v1", layers)
    got = fetch(uri(hub, "team/room-image:v1"), plain=hub.host)
    downloads = got.folder.parent / "downloads"
    broken_off(got)
    shutil.rmtree(got.folder)
    downloads.mkdir()
    small, large = (downloads / str(layer["digest"]).removeprefix("sha256:") for layer in layers)
    small.write_bytes(packed[0])
    large.with_name(f"{large.name}.part").write_bytes(packed[1][:1_000_000])
    # Room for the rest of the layer, then for what is unpacked from it.
    free_space(monkeypatch, len(packed[1]) - 1_000_000, sum(path.stat().st_size for path in model.iterdir()))
    assert is_the_model(fetch(uri(hub, "team/room-image:v1"), plain=hub.host), model, "README.md")


def test_a_challenge_that_never_ends_is_not_read_into_memory(fetch: Fetch) -> None:
    with endless("/v2/") as (host, sent):
        fault = fetch.fault(lambda: fetch(f"oci://{host}/m:v1", plain=host))
    assert fault.reason == "SourceUnreachable"
    assert "(TooLong)" in fault.message
    assert sum(sent) < 32 * 1024**2


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
