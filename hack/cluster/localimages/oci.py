"""The little of the registry's protocol that is needed (OCI distribution specification 1.1), over plain HTTP on this
machine.
"""

import hashlib
import http.client
import json
import platform
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
# What buildah, podman and docker may have pushed.
_ACCEPT = f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"


class RegistryError(RuntimeError):
    """The registry refused a request."""


def split(reference: str) -> tuple[str, str, str]:
    """`host:port/repository:tag` → (host:port, repository, tag). A digest may stand for the tag."""
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.partition(":")
    if not repository or not tag:
        raise ValueError(f"{reference!r}: an image is named host:port/repository:tag")
    return host, repository, tag


def parse(document: bytes) -> dict[str, Any]:
    """A JSON document of a registry, for example an image's configuration."""
    parsed: dict[str, Any] = json.loads(document)
    return parsed


class Registry:
    """A registry without credentials, for example `localhost:5001`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def has(self, reference: str) -> bool:
        """Whether the registry has this image."""
        _, repository, tag = split(reference)
        status, _, _ = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": _ACCEPT})
        return status == 200

    def manifest(self, reference: str) -> dict[str, Any]:
        """The manifest of an image. Raises RegistryError when it is not there."""
        _, repository, tag = split(reference)
        return parse(self._get(f"/v2/{repository}/manifests/{tag}"))

    def blob(self, repository: str, digest: str) -> bytes:
        """A small blob, such as an image's configuration."""
        return self._get(f"/v2/{repository}/blobs/{digest}")

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository; none when there is no such repository."""
        status, body, _ = self._request("GET", f"/v2/{repository}/tags/list")
        return list(json.loads(body).get("tags") or []) if status == 200 else []

    def delete(self, reference: str) -> None:
        """Removes an image, and every tag that names the same one. Its blobs go with the next garbage collection."""
        _, repository, tag = split(reference)
        status, _, headers = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": _ACCEPT})
        if status == 200:
            self._request("DELETE", f"/v2/{repository}/manifests/{headers['docker-content-digest']}")

    def push(self, reference: str, *, layers: list[bytes], config: dict[str, Any]) -> None:
        """Pushes a new image of uncompressed tar layers. `config`: the keys of the image configuration's `config`
        object.
        """
        _, repository, _ = split(reference)
        document = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            # buildah counts these against the layers and refuses an image where they differ.
            "history": [{"created_by": "slipway hack/cluster"} for _ in layers],
        }
        descriptors = [self.put_blob(repository, layer, LAYER) for layer in layers]
        self.put_image(reference, document, descriptors)

    def put_image(self, reference: str, config: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        """Writes configuration and manifest of an image whose layers (descriptors) the repository has already."""
        _, repository, tag = split(reference)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_blob(repository, json.dumps(config).encode(), CONFIG),
            "layers": layers,
        }
        body = json.dumps(manifest).encode()
        status, answer, _ = self._request("PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": MANIFEST})
        if status != 201:
            raise RegistryError(
                f"{reference}: the registry refused the manifest: {status} {answer.decode(errors='replace')}"
            )

    def put_blob(self, repository: str, content: bytes, media_type: str) -> dict[str, Any]:
        """Uploads a blob unless the repository has it; returns its descriptor."""
        digest = digest_of(content)
        status, _, _ = self._request("HEAD", f"/v2/{repository}/blobs/{digest}")
        if status != 200:
            status, answer, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/")
            if status == 202:
                place = headers["location"].removeprefix(f"http://{self._address}")
                place += ("&" if "?" in place else "?") + f"digest={digest}"
                status, answer, _ = self._request("PUT", place, content, {"Content-Type": "application/octet-stream"})
            if status != 201:
                raise RegistryError(
                    f"{repository}: the registry refused a blob: {status} {answer.decode(errors='replace')}"
                )
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _get(self, path: str) -> bytes:
        status, body, _ = self._request("GET", path, headers={"Accept": _ACCEPT})
        if status != 200:
            raise RegistryError(f"http://{self._address}{path}: {status} {body.decode(errors='replace')[:300]}")
        return body

    def _request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            connection.request(method, path, body=body if method in {"PUT", "POST"} else None, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()


def digest_of(content: bytes) -> str:
    """The digest by which a registry names content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
