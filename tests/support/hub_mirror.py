"""A small Hub-compatible server: the endpoints that huggingface_hub calls to download a model, and nothing else.

    python -m tests.support.hub_mirror --root FOLDER --host 127.0.0.1 --port 8090

FOLDER/org/name/* are repositories. A commit is the digest of a repository's contents, so a changed file is a new
commit, and only `main` and the present commit exist. A file `.gate` in a repository makes it gated: one accepted
token per line (an empty file: nobody). Names that begin with a dot are never served.

Error codes and headers are those of the Hub (huggingface_hub/utils/_http.py reads X-Error-Code; file_download.py reads
X-Repo-Commit, ETag, X-Linked-Size). As there, a gated repository may be described and listed by anybody, and a
missing one answers 401 to callers without a token. Faults (a slow line, a dropped connection, 503) are switched on by
attributes or flags.

Standard library only: the demo runs it with any Python from 3.11 on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 64 * 1024
_INFO = re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?$")
_TREE = re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?$")
_RESOLVE = re.compile(r"^/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")


@dataclass
class Faults:
    """What goes wrong. All off by default; may be changed while the server runs."""

    bytes_per_second: float = 0.0
    """A slow line, per file; 0: none."""
    drop_after: int = 0
    """Close the connection after so many bytes of the first GET of each file; 0: never."""
    failures: int = 0
    """Answer so many requests with 503 first."""
    hold: threading.Event | None = None
    """Weights stop half-way until this is set: a download whose moment a test chooses."""


@dataclass(frozen=True)
class Seen:
    """One request, as tests look at it afterwards. The token itself is not kept."""

    method: str
    path: str
    range: str | None
    authorized: bool


@dataclass(frozen=True)
class Entry:
    """One file of a repository."""

    path: str
    file: Path
    size: int
    sha256: str

    @property
    def large(self) -> bool:
        """Whether the Hub would keep it in LFS."""
        return self.path.endswith((".safetensors", ".bin", ".model"))


@dataclass
class Mirror:
    """The state behind the handler."""

    root: Path
    faults: Faults = field(default_factory=Faults)
    requests: list[Seen] = field(default_factory=list)
    _dropped: set[str] = field(default_factory=set)
    _digests: dict[tuple[str, int, int], str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def repository(self, repo: str) -> Path | None:
        folder = (self.root / repo).resolve()
        return folder if folder.is_relative_to(self.root.resolve()) and folder.is_dir() else None

    def entries(self, folder: Path) -> list[Entry]:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not _hidden(p.relative_to(folder)))
        return [self._entry(folder, file) for file in files]

    def _entry(self, folder: Path, file: Path) -> Entry:
        stat = file.stat()
        key = (str(file), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            digest = self._digests.get(key)
        if digest is None:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            with self._lock:
                self._digests[key] = digest
        return Entry(file.relative_to(folder).as_posix(), file, stat.st_size, digest)

    def allowed(self, folder: Path, token: str | None) -> bool:
        gate = folder / ".gate"
        return not gate.exists() or (token is not None and token in gate.read_text().split())

    def drops(self, path: str) -> int:
        """After how many bytes this GET is cut, 0 for never; each file is cut once."""
        with self._lock:
            if not self.faults.drop_after or path in self._dropped:
                return 0
            self._dropped.add(path)
            return self.faults.drop_after

    def fails(self) -> bool:
        with self._lock:
            if self.faults.failures <= 0:
                return False
            self.faults.failures -= 1
            return True


def commit_of(entries: list[Entry]) -> str:
    """40 hex digits, as git's."""
    listing = "\n".join(f"{entry.sha256} {entry.path}" for entry in entries)
    return hashlib.sha256(listing.encode()).hexdigest()[:40]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


class Handler(BaseHTTPRequestHandler):
    """Routes to the three kinds of endpoint."""

    protocol_version = "HTTP/1.1"
    mirror: Mirror

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet: tests look at `Mirror.requests`."""

    def _route(self) -> None:
        url = urlsplit(self.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        path = unquote(url.path)
        self.mirror.requests.append(Seen(self.command, path, self.headers.get("Range"), token is not None))
        if self.mirror.fails():
            self._error(503, None, "Service Unavailable")
            return
        for pattern, answer in ((_INFO, self._info), (_TREE, self._tree), (_RESOLVE, self._resolve)):
            match = pattern.match(url.path)
            if match:
                captured = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                answer(captured, token, parse_qs(url.query))
                return
        self._error(404, None, "Not Found")

    def _found(self, captured: dict[str, str], token: str | None) -> tuple[Path, list[Entry], str] | None:
        """The repository at its commit; answers the error itself otherwise."""
        folder = self.mirror.repository(captured["repo"])
        if folder is None:
            self._error(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        entries = self.mirror.entries(folder)
        commit = commit_of(entries)
        if captured.get("revision", "main") not in ("main", commit):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {captured['revision']}")
            return None
        return folder, entries, commit

    def _info(self, captured: dict[str, str], token: str | None, _: dict[str, list[str]]) -> None:
        if (found := self._found(captured, token)) is None:
            return
        folder, entries, commit = found
        self._json(
            {
                "_id": commit[:24],
                "id": captured["repo"],
                "modelId": captured["repo"],
                "sha": commit,
                "private": False,
                "gated": "manual" if (folder / ".gate").exists() else False,
                "tags": [],
                "siblings": [{"rfilename": entry.path} for entry in entries],
            }
        )

    def _tree(self, captured: dict[str, str], token: str | None, query: dict[str, list[str]]) -> None:
        if (found := self._found(captured, token)) is None:
            return
        recursive = query.get("recursive", ["false"])[0].lower() in ("1", "true")
        listing: list[dict[str, object]] = []
        for entry in found[1]:
            if not recursive and "/" in entry.path:
                continue
            item: dict[str, object] = {
                "type": "file", "path": entry.path, "size": entry.size, "oid": entry.sha256[:40],
            }  # fmt: skip
            if entry.large:
                item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
            listing.append(item)
        self._json(listing)

    def _resolve(self, captured: dict[str, str], token: str | None, _: dict[str, list[str]]) -> None:
        if (found := self._found(captured, token)) is None:
            return
        folder, entries, commit = found
        if not self.mirror.allowed(folder, token):
            self._error(403 if token else 401, "GatedRepo", "Access to this model is restricted")
            return
        entry = next((entry for entry in entries if entry.path == captured["path"]), None)
        if entry is None:
            self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        self._file(entry, commit)

    def _file(self, entry: Entry, commit: str) -> None:
        start, end = 0, entry.size - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), int(asked[2] or end)
            if start > end or end >= entry.size:
                self._error(416, None, "Range Not Satisfiable", {"Content-Range": f"bytes */{entry.size}"})
                return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end}/{entry.size}")
        etag = entry.sha256 if entry.large else entry.sha256[:40]
        for name, value in {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - start + 1),
            "Accept-Ranges": "bytes",
            "ETag": f'"{etag}"',
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(entry.size),
            "X-Linked-ETag": f'"{etag}"',
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send_bytes(entry, start, end + 1)

    def _send_bytes(self, entry: Entry, start: int, end: int) -> None:
        faults, cut = self.mirror.faults, self.mirror.drops(entry.path)
        sent = 0
        with entry.file.open("rb") as file:
            file.seek(start)
            while start + sent < end:
                if faults.hold is not None and entry.large and sent >= (end - start) // 2:
                    faults.hold.wait()
                chunk = file.read(min(CHUNK, end - start - sent))
                if cut and sent + len(chunk) >= cut:
                    self.wfile.write(chunk[: cut - sent])
                    self.wfile.flush()
                    self.close_connection = True
                    return
                self.wfile.write(chunk)
                sent += len(chunk)
                if faults.bytes_per_second:
                    time.sleep(len(chunk) / faults.bytes_per_second)

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str, extra: dict[str, str] | None = None) -> None:
        headers = {"Content-Type": "application/json", "X-Error-Message": message, **(extra or {})}
        if code is not None:
            headers["X-Error-Code"] = code
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that went away are what the tests are about; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def make_server(mirror: Mirror, host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound but not yet serving; port 0: any free one."""
    return _Server((host, port), type("BoundHandler", (Handler,), {"mirror": mirror}))


@contextmanager
def running(root: Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, Mirror]]:
    """Serve `root` in a thread; gives its URL and its state."""
    mirror = Mirror(root)
    server = make_server(mirror, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}", mirror
    finally:
        if mirror.faults.hold is not None:
            mirror.faults.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A small Hub-compatible server for folders ROOT/org/name/*.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--bytes-per-second", type=float, default=0.0, help="a slow line, per file")
    parser.add_argument("--drop-after", type=int, default=0, help="cut the first GET of each file after so many bytes")
    parser.add_argument("--failures", type=int, default=0, help="answer so many requests with 503 first")
    options = parser.parse_args()
    faults = Faults(options.bytes_per_second, options.drop_after, options.failures)
    server = make_server(Mirror(options.root, faults), options.host, options.port)
    print(f"serving {options.root} at http://{options.host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
