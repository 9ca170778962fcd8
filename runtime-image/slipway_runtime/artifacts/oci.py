"""oci://registry/repository:tag: an artifact whose layers are files (as `oras push` makes it), or an image whose layers
hold the model in /models (a modelcar).

oras does the talking with registries, tokens included. Its own `pull` is not used: it compares no digests, goes on with
nothing and writes whatever titles say. Credentials come from a docker config; its helper programs are never run.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import requests

from slipway_runtime.artifacts.archives import Contents, model_root, unsafe
from slipway_runtime.artifacts.credentials import PARAM, read_docker
from slipway_runtime.artifacts.digests import sha256_of
from slipway_runtime.artifacts.https import web_errors
from slipway_runtime.artifacts.layers import image_contents, plain_name
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import SHA256, Reference, plain, split_oci
from slipway_runtime.artifacts.source import Entry, begun, make_room, wrong_digest
from slipway_runtime.artifacts.tars import TarReader
from slipway_runtime.artifacts.transfer import CHUNK, Body, transfer
from slipway_runtime.artifacts.web import BROKEN, guard
from slipway_runtime.errors import ModelFault

MOST_MANIFEST = 4 * 1024**2
MOST_LAYERS = 4096
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
# oras' own, and the one of the CNCF's model format.
_TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_UNPACK = "io.deis.oras.content.unpack"
_TAR = re.compile(r"\.tar(?:[.+]gzip)?$|tar\+gzip$|/x-tar$")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Layer:
    """One blob; `name` is empty for a layer of an image."""

    digest: str
    size: int
    name: str


class OciSource:
    """One manifest and its blobs."""

    def __init__(self, reference: Reference, plain_hosts: tuple[str, ...]) -> None:
        self.reference = reference
        self._registry, self._repository, self._digest, self._tag = split_oci(reference.location)
        self._plain = plain(self._registry, plain_hosts)
        self._plain_hosts = plain_hosts
        self._login = read_docker(reference.token_file, self._registry)
        self._client_object: Any = None
        self._layers: tuple[Layer, ...] = ()
        self._contents = Contents()
        self._files: dict[str, Layer] = {}

    def resolve(self) -> str:
        """The manifest's digest; of an index, that of the entry for this machine."""
        with web_errors(self.reference):
            digest, manifest = self._manifest(self._digest or self._tag or "")
            if "manifests" in manifest:
                digest, manifest = self._manifest(self._choose(manifest["manifests"]))
        try:
            self._layers = tuple(_layer(layer) for layer in manifest["layers"][: MOST_LAYERS + 1])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._corrupt("its manifest has no layers of the OCI image format") from None
        if len(self._layers) > MOST_LAYERS:
            raise self._corrupt(f"its manifest has more than {MOST_LAYERS} layers")
        return digest

    def list(self, downloads: Path, progress: Progress) -> Mapping[str, Entry]:
        """Titles of the layers; where they have none, what lies in the layers, which are fetched for that."""
        if any(layer.name for layer in self._layers):
            return self._titles()
        total = sum(layer.size for layer in self._layers)
        progress.expect(total)
        have = sum(blob.stat().st_size for layer in self._layers if (blob := downloads / layer.digest).is_file())
        make_room(downloads, max(0, total - have - begun(downloads)), self.reference)
        readers = []
        for layer in self._layers:
            blob = downloads / layer.digest
            self._blob(layer, blob, progress)
            readers.append(TarReader(blob, self.reference.shown))
        self._contents = image_contents(readers, self.reference.shown)
        return {name: Entry(member.size) for name, (_, member) in self._contents.files.items()}

    def fetch(self, names: tuple[str, ...], folder: Path, progress: Progress) -> None:
        if self._contents.files:
            self._contents.extract(names, folder)
            progress.add(sum(self._contents.files[name][1].size for name in names))
            return
        layers = self._files
        for name in names:
            if not ((folder / name).is_file() and (folder / name).stat().st_size == layers[name].size):
                self._blob(layers[name], folder / name, progress)

    def close(self) -> None:
        if self._client_object is not None:
            self._client_object.session.close()

    def _titles(self) -> Mapping[str, Entry]:
        named = [layer for layer in self._layers if layer.name]
        root = model_root(layer.name for layer in named)
        for layer in named:
            if not layer.name.startswith(root):
                continue
            name = layer.name.removeprefix(root)
            if name in self._files:
                raise unsafe(self.reference.shown, f"two layers have the title {name!r}")
            self._files[name] = layer
        return {name: Entry(layer.size, layer.digest) for name, layer in self._files.items()}

    @property
    def _client(self) -> Any:
        if self._client_object is None:
            import oras.provider  # type: ignore[import-untyped] # noqa: PLC0415 - in the download's thread, not before the port opens
            from oras.logger import logger  # type: ignore[import-untyped] # noqa: PLC0415

            logger.log_handler = []  # it writes coloured text to stderr; the log here is JSON
            scheme = self._auth_scheme()
            client = oras.provider.Registry(
                self._registry, insecure=self._plain, auth_backend="basic" if scheme == "basic" else "token"
            )
            guard(client.session, self._host, self._plain_hosts)
            client._tls_verify = client.auth._tls_verify = client.session.verify
            if self._login is not None:
                client.auth.set_basic_auth(*self._login)
            elif scheme == "basic":
                raise self._refused(401)
            self._client_object = client
        return self._client_object

    def _auth_scheme(self) -> str:
        with guard(requests.Session(), self._host, self._plain_hosts) as session:
            answer = session.get(f"{'http' if self._plain else 'https'}://{self._registry}/v2/")
            return answer.headers.get("WWW-Authenticate", "").partition(" ")[0].lower()

    @property
    def _host(self) -> str:
        return re.sub(r":\d+$", "", self._registry)

    def _get(self, path: str, headers: dict[str, str]) -> requests.Response:
        client, url = (
            self._client,
            f"{'http' if self._plain else 'https'}://{self._registry}/v2/{self._repository}/{path}",
        )
        ask = type(client).do_request.__wrapped__  # without its retries, which wait for minutes
        for again in (True, False):
            try:
                response: requests.Response = ask(client, url, "GET", headers=dict(headers), stream=True)
            except ValueError:  # asked for credentials that it has no way to get
                raise self._refused(401) from None
            if response.status_code == requests.codes.unauthorized and again and getattr(client.auth, "token", None):
                response.close()
                client.auth.token = None  # it has expired in the middle of a long pull
                continue
            break
        if response.status_code not in (200, 206):
            response.close()
            raise self._status(response.status_code)
        return response

    def _manifest(self, name: str) -> tuple[str, dict[str, Any]]:
        with self._get(f"manifests/{name}", {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}) as response:
            content = response.raw.read(MOST_MANIFEST + 1, decode_content=True)
        if len(content) > MOST_MANIFEST:
            raise self._corrupt(f"its manifest has more than {MOST_MANIFEST} bytes")
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if name.startswith("sha256:") and name != found:
            raise wrong_digest("the manifest", self.reference, found=found, wanted=name)
        try:
            manifest = orjson.loads(content)
        except orjson.JSONDecodeError:
            manifest = None
        if not isinstance(manifest, dict):
            raise self._corrupt("its manifest is no JSON object")
        return found, manifest

    def _choose(self, entries: Any) -> str:
        """The entry of an index for this machine, or the only one."""
        here = ("linux", _MACHINES.get(platform.machine(), platform.machine()))
        try:
            found = [(entry, entry.get("platform") or {}) for entry in entries]
            able = [(entry, where) for entry, where in found if where.get("os") != "unknown"]  # attestations
            fit = [(entry, where) for entry, where in able if (where.get("os"), where.get("architecture")) == here]
            digest = str((fit or able)[0][0]["digest"]) if fit or len(able) == 1 else ""
        except (AttributeError, KeyError, TypeError):
            digest = ""
        if not SHA256.fullmatch(digest.removeprefix("sha256:")):
            raise self._corrupt(f"its index has no manifest for {'/'.join(here)}")
        return digest

    def _blob(self, layer: Layer, target: Path, progress: Progress) -> None:
        """Fetch a blob, going on with what is there, and compare its digest before it gets its name."""
        if target.is_file():  # its digest was right when it got this name; acquire compares once more
            progress.add(layer.size)
            return
        part = target.with_name(f"{target.name}.part")
        progress.add(part.stat().st_size if part.exists() else 0)
        with web_errors(self.reference):
            transfer(part, layer.size, lambda offset: self._open_at(layer, offset), progress, broken=BROKEN)
        if (found := sha256_of(part)) != layer.digest:
            part.unlink()
            raise wrong_digest(layer.name or "a layer", self.reference, found=found, wanted=layer.digest)
        part.replace(target)

    def _open_at(self, layer: Layer, offset: int) -> Body:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        response = self._get(f"blobs/sha256:{layer.digest}", headers)
        start = offset if response.status_code == requests.codes.partial_content else 0
        return Body(start, response.raw.stream(CHUNK, decode_content=False), response.close)

    def _status(self, status: int) -> ModelFault:
        if status in (401, 403):
            return self._refused(status)
        where = self.reference.shown
        if status == requests.codes.not_found:
            return ModelFault(
                "ModelNotFound", f"{where} was not found (HTTP 404): check repository and tag", "model.uri"
            )
        return ModelFault("SourceUnreachable", f"{where} answered HTTP {status}: it is tried again", "model.uri")

    def _refused(self, status: int) -> ModelFault:
        given = "with the given credentials" if self._login else "and no credentials for this registry are given"
        return ModelFault(
            "ModelGated",
            f"access to {self.reference.shown} was refused (HTTP {status}) {given}: put a docker config.json that may "
            "pull it into the Secret of model.tokenSecretRef",
            PARAM,
        )

    def _corrupt(self, what: str) -> ModelFault:
        return ModelFault("ModelCorrupt", f"{self.reference.shown}: {what}", "model.uri")


def _layer(layer: dict[str, Any]) -> Layer:
    """Raises ValueError, KeyError or TypeError for what is no descriptor."""
    digest, size = str(layer["digest"]).removeprefix("sha256:"), int(layer["size"])
    if not SHA256.fullmatch(digest) or size < 0:
        raise ValueError(digest)
    notes = layer.get("annotations") or {}
    title = next((str(notes[key]) for key in _TITLES if notes.get(key)), "")
    packed = notes.get(_UNPACK) == "true" or _TAR.search(str(layer.get("mediaType", "")))
    return Layer(digest, size, "" if packed else plain_name(title))
