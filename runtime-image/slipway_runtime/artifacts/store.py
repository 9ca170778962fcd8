"""What lies in the cache: per source a folder for each revision, and beside it a manifest, written last.

CACHE/models/<source>/<revision>/…                the files
CACHE/models/<source>/<revision>.json             the manifest: only with it is the folder whole
CACHE/models/<source>/resolved-<reference>.json   what a branch, tag or prefix meant when it was last asked
CACHE/models/<source>/downloads/                  archives on their way, thrown away once unpacked
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from slipway_runtime import __version__
from slipway_runtime.artifacts.digests import digests_of
from slipway_runtime.artifacts.reference import Reference, shown


@dataclass(frozen=True)
class Whole:
    """A folder that has everything, by its manifest."""

    folder: Path
    revision: str
    weights: tuple[str, ...]
    sizes: Mapping[str, int]


class Store:
    """The cache's part for one reference."""

    def __init__(self, cache_dir: Path, reference: Reference) -> None:
        self._reference = reference
        plain = reference.location if reference.kind == "hub" else shown(reference.location)
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", plain.replace("/", "--"))[:120]
        if reference.kind != "hub":  # different queries, tags and signs may share a slug
            slug += "-" + hashlib.sha256(reference.location.encode()).hexdigest()[:12]
        self.root = cache_dir / "models" / slug
        self.downloads = self.root / "downloads"

    def folder(self, revision: str) -> Path:
        """Where the files of a revision lie."""
        return self.root / revision.replace(":", "-")

    def locked(self) -> AbstractContextManager[None]:
        """One writer at a time."""
        return locked(self.root)

    def resolved(self) -> str | None:
        """The revision that the reference last meant."""
        revision = _read(self._resolved_file).get("revision")
        return revision if isinstance(revision, str) else None

    def remember(self, revision: str) -> None:
        """Note what the reference means."""
        _write(self._resolved_file, {"reference": self._reference.shown, "revision": revision})

    @property
    def _resolved_file(self) -> Path:
        return self.root / f"resolved-{hashlib.sha256(self._reference.revision.encode()).hexdigest()[:12]}.json"

    def whole(self, revision: str, *, any_version: bool = False) -> Whole | None:
        """The revision's folder, if its manifest is there and every file has the size and digest that it names.

        Of an earlier version of this runtime only with `any_version`: it may have left out files that are wanted now.
        """
        manifest, folder = _read(self._manifest(revision)), self.folder(revision)
        files = manifest.get("files")
        if not isinstance(files, dict) or not (any_version or manifest.get("version") == __version__):
            return None
        if not all(
            (folder / name).is_file() and (folder / name).stat().st_size == f["size"] for name, f in files.items()
        ):
            return None
        found = digests_of(folder, files)
        wrong = [name for name, file in files.items() if found[name] != file["sha256"]]
        for name in wrong:
            (folder / name).unlink()
        if wrong:
            return None
        sizes = {name: int(file["size"]) for name, file in files.items()}
        return Whole(folder, revision, tuple(manifest.get("weights", ())), sizes)

    def seal(self, revision: str, digests: Mapping[str, str], weights: tuple[str, ...]) -> Whole:
        """Write the manifest: from now on the folder is whole."""
        folder = self.folder(revision)
        sizes = {name: (folder / name).stat().st_size for name in digests}
        files = {name: {"size": sizes[name], "sha256": digest} for name, digest in digests.items()}
        manifest = {"source": self._reference.shown, "revision": revision, "version": __version__}
        _write(self._manifest(revision), {**manifest, "weights": list(weights), "files": files})
        shutil.rmtree(self.downloads, ignore_errors=True)
        return Whole(folder, revision, weights, sizes)

    def _manifest(self, revision: str) -> Path:
        return self.root / f"{revision.replace(':', '-')}.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time, of several workers or where replicas share a volume. Makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        with suppress(OSError):  # a file system without locks: both fetch, and digests decide
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
