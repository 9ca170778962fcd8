"""Archives, honest and not, and an HTTPS server that hands them out: with ranges, redirects and lines that break."""

from __future__ import annotations

import gzip
import hashlib
import io
import ssl
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.certificates import Authority

Change = Callable[[tarfile.TarFile], None]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(folder: Path, target: Path, *, within: str = "", change: Change | None = None) -> Path:
    """Pack a folder by the target's suffix, inside a folder `within`; `change` adds to a tar."""
    target.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: f"{within}/{path.relative_to(folder)}".lstrip("/") for path in files}
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, name in names.items():
                archive.write(path, name)
        return target
    with tarfile.open(target, "w" if target.suffix == ".tar" else "w:gz") as archive:
        for path, name in names.items():
            archive.add(path, name)
        if change is not None:
            change(archive)
    return target


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Change:
    """One more entry, of any kind."""

    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(content)
        archive.addfile(info, io.BytesIO(content))

    return add


def long_header(archive: tarfile.TarFile) -> None:
    """A name of 64 MiB, which shrinks to nothing and is read into memory by whoever trusts its size."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64 * 1024**2
    archive.addfile(info, io.BytesIO(b"a" * info.size))


def bomb(target: Path, size: int) -> Path:
    """A tar.gz with one file of zeros."""
    info = tarfile.TarInfo("model.safetensors")
    info.size = size
    with gzip.open(target, "wb") as stream:
        stream.write(info.tobuf())
        for _ in range(size // 1024**2):
            stream.write(bytes(1024**2))
    return target


@dataclass
class Site:
    """What the server hands out, and how. May be changed while it runs."""

    url: str
    folder: Path
    redirects: dict[str, str] = field(default_factory=dict)
    """Path → where it leads."""
    token: str = ""
    """Asked of every caller."""
    cut_after: int = 0
    """Close the connection after so many bytes of a body …"""
    cuts: int = 0
    """… so many times."""
    ranges: bool = True
    answers: int = -1
    """How many requests are still answered, before 503; negative: all."""
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """(path, Range, Authorization) of each."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_GET(self) -> None:
        site, path = self.site, self.path.partition("?")[0]
        site.requests.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if site.answers == 0:
            self._answer(503, {})
            return
        site.answers -= 1
        if path in site.redirects:
            self._answer(302, {"Location": site.redirects[path]})
            return
        if site.token and self.headers.get("Authorization") != f"Bearer {site.token}":
            self._answer(401, {})
            return
        file = site.folder / path.lstrip("/")
        if not file.is_file():
            self._answer(404, {})
            return
        content, asked = file.read_bytes(), self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
        if start >= len(content):
            self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._answer(206 if start else 200, headers, content[start:])

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.site.cut_after and self.site.cuts > 0:
            self.site.cuts -= 1
            body = body[: self.site.cut_after]
            self.close_connection = True
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that go away are what the tests are about; anything else is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def endless(path: str, *, redirect: bool = False) -> Iterator[tuple[str, list[int]]]:
    """A server without TLS whose answer at `path` does not end before 256 MiB: (its host, the bytes it got rid of)."""
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet."""

        def do_GET(self) -> None:
            self.send_response(302 if redirect and self.path.startswith(path) else 200)
            self.send_header("Location", f"{path}again")
            self.end_headers()
            for _ in range(4096):
                self.wfile.write(bytes(65536))
                sent.append(65536)

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def site(folder: Path, authority: Authority | None, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Site]:
    """Serve a folder by HTTPS, with a certificate for 127.0.0.1 and localhost; without an authority by HTTP."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = type("BoundHandler", (_Handler,), {})
    server = _Server((host, port), handler)
    if authority is not None:
        certificate, key = authority.server("site", "IP:127.0.0.1", "DNS:localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found = Site(f"http{'s' if authority else ''}://{host}:{server.server_address[1]}", folder)
    handler.site = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
