"""A real OCI registry (Debian's docker-registry) on loopback, and what pushes artifacts and images to it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.runtime_server import free_ports
from tests.support.waiting import eventually

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
USER, PASSWORD = "puller", "a-password-of-the-tests"
# With the bcrypt of PASSWORD, as `htpasswd -B` writes it; docker-registry reads no other kind.
HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuu6O/jaYCx8zhCexxqCBsInzagwRDBqGq"


@dataclass(frozen=True)
class Registry:
    """Its address and, where it asks for them, the credentials of the one who pushes."""

    host: str
    auth: tuple[str, str] | None = None

    def push(self, repository: str, tag: str, layers: list[dict[str, object]]) -> str:
        """Push a manifest of layers that are there; returns its digest."""
        config = self.blob(repository, b"{}")
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": layers,
        }
        return self.manifest(repository, tag, manifest, MANIFEST)

    def manifest(self, repository: str, tag: str, manifest: Mapping[str, object], kind: str) -> str:
        with self._client() as client:
            answer = client.put(
                f"/v2/{repository}/manifests/{tag}", content=json.dumps(manifest), headers={"Content-Type": kind}
            )
        assert answer.status_code == 201, answer.text
        return answer.headers["Docker-Content-Digest"]

    def blob(self, repository: str, content: bytes) -> str:
        """Upload; returns the digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with self._client() as client:
            place = client.post(f"/v2/{repository}/blobs/uploads/").headers["Location"]
            separator = "&" if "?" in place else "?"
            answer = client.put(
                f"{place}{separator}digest={digest}",
                content=content,
                headers={"Content-Type": "application/octet-stream"},
            )
        assert answer.status_code == 201, answer.text
        return digest

    def push_files(self, repository: str, tag: str, folder: Path) -> str:
        """As `oras push` does: a layer per file, its name in the title."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        layers = [self.file_layer(repository, str(f.relative_to(folder)), f.read_bytes()) for f in files]
        return self.push(repository, tag, layers)

    def file_layer(self, repository: str, title: str, content: bytes) -> dict[str, object]:
        return {
            "mediaType": "application/octet-stream",
            "digest": self.blob(repository, content),
            "size": len(content),
            "annotations": {"org.opencontainers.image.title": title},
        }

    def tar_layer(self, repository: str, packed: bytes) -> dict[str, object]:
        return {"mediaType": LAYER, "digest": self.blob(repository, packed), "size": len(packed)}

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.host}", auth=self.auth, timeout=60)


def image_layer(folder: Path | None, at: str = "models", extra: Mapping[str, bytes] | None = None) -> bytes:
    """A layer of an image, with the folder's files below `at` and further files by name."""
    packed = io.BytesIO()
    with gzip.open(packed, "wb", compresslevel=1) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        if folder is not None:
            archive.add(folder, at)
        for name, content in (extra or {}).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def docker_config(host: str, user: str = USER, password: str = PASSWORD) -> str:
    """As `docker login` writes it."""
    return json.dumps({"auths": {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}})


@contextmanager
def registry(folder: Path, *, port: int = 0, closed: bool = False) -> Iterator[Registry]:
    """Run one, its data in `folder`. `closed`: nobody gets in without USER and PASSWORD."""
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{port or free_ports(1)[0]}"
    settings: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
    }
    if closed:
        (folder / "htpasswd").write_text(f"{HTPASSWD}\n")
        settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "registry.json").write_text(json.dumps(settings))
    command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(folder / "registry.json")]
    with (folder / "registry.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: httpx.get(f"http://{host}/v2/").status_code, retry=(httpx.TransportError,))
            yield Registry(host, (USER, PASSWORD) if closed else None)
        finally:
            process.kill()
