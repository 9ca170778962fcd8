"""Images whose pull can be cut short at a certain moment: one that arrives slowly, one that takes long to unpack."""

import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from localcluster import paths
from localimages import oci

FILES = 40_000  # 1000 to a folder, in this order: the folders tell how far the unpacking is
CHECK = f"test $(find /many -type f | wc -l) = {FILES} && cd /many/7 && md5sum -c /sums"


def many_files() -> str:
    """Pushes an image of FILES small files, with checksums of some of them, to the local registry; returns its name."""
    reference = f"{paths.REGISTRY}/many-files:2"
    registry = oci.Registry(paths.REGISTRY)
    if not registry.has(reference):
        manifest, config = busybox()
        layer = _layer()
        config["rootfs"]["diff_ids"].append(oci.digest_of(layer))
        _, repository, _ = oci.split(reference)
        lower = [
            registry.put_blob(repository, registry.blob("busybox", entry["digest"]), entry["mediaType"])
            for entry in manifest["layers"]
        ]
        registry.put_image(reference, config, [*lower, registry.put_blob(repository, layer, oci.LAYER)])
    return reference


def busybox() -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and configuration of the local busybox image."""
    registry = oci.Registry(paths.REGISTRY)
    manifest = registry.manifest(paths.BUSYBOX_IMAGE)
    return manifest, oci.parse(registry.blob("busybox", manifest["config"]["digest"]))


def _layer() -> bytes:
    source, sums, buffer = random.Random(3), [], io.BytesIO()  # noqa: S311 any bytes will do
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(FILES):
            content = source.randbytes(source.randrange(4096))
            name = f"{number // 1000}/{number}"
            if number // 1000 == 7:
                sums.append(f"{hashlib.md5(content).hexdigest()}  {number}\n")  # noqa: S324 busybox has md5sum
            _add(archive, f"many/{name}", content)
        _add(archive, "sums", "".join(sums).encode())
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


@contextmanager
def slow_registry() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A registry with one image, which holds back the second half of its one layer.

    Yields the image's name, an event that is set once half of the layer has been sent, and one that lets the rest go.
    """
    half, release = threading.Event(), threading.Event()
    manifest, config = busybox()
    blobs = {
        entry["digest"]: oci.Registry(paths.REGISTRY).blob("busybox", entry["digest"]) for entry in manifest["layers"]
    }
    # Another layer than the busybox image's own, which containerd may have already.
    layer = gzip.compress(blobs[manifest["layers"][0]["digest"]] + b"\0" * 1024 * random.randrange(1, 999), 1)  # noqa: S311
    unpacked = gzip.decompress(layer)
    config["rootfs"]["diff_ids"] = [oci.digest_of(unpacked)]
    packed_config = json.dumps(config).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": {"mediaType": oci.CONFIG, "digest": oci.digest_of(packed_config), "size": len(packed_config)},
        "layers": [{"mediaType": f"{oci.LAYER}+gzip", "digest": oci.digest_of(layer), "size": len(layer)}],
    }
    body = json.dumps(document).encode()
    answers = {
        "/v2/slow/manifests/1": (oci.MANIFEST, body),
        f"/v2/slow/manifests/{oci.digest_of(body)}": (oci.MANIFEST, body),
        f"/v2/slow/blobs/{oci.digest_of(packed_config)}": (oci.CONFIG, packed_config),
        f"/v2/slow/blobs/{oci.digest_of(layer)}": ("application/octet-stream", layer),
        "/v2/": ("application/json", b"{}"),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            kind, content = answers.get(self.path, ("text/plain", b""))
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Docker-Content-Digest", oci.digest_of(content))
            self.end_headers()
            if not body:
                return
            if content is layer:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                half.set()
                release.wait(120)
                content = content[len(content) // 2 :]
            try:
                self.wfile.write(content)
            except OSError:
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name in the base class
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"localhost:{server.server_port}/slow:1", half, release
    finally:
        release.set()
        server.shutdown()
        server.server_close()
        thread.join()
