"""The steps from any source to a checked folder.

resolve → (whole in the cache already?) → list → select → fetch descriptions, check → room? → fetch weights → digests →
headers → manifest. A source that cannot be reached leaves what was fetched before, as long as it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway_runtime.artifacts.digests import digests_of
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference
from slipway_runtime.artifacts.selection import Selection
from slipway_runtime.artifacts.source import Entry, Source, begun, make_room, storage_faults, wrong_digest
from slipway_runtime.artifacts.store import Store, Whole
from slipway_runtime.artifacts.weights import CorruptWeights, check_weights
from slipway_runtime.errors import ModelFault


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a repository: a model, or an adapter."""

    select: Callable[[Iterable[str], str], Selection]
    """All names and the source's name → the files that are needed."""
    check: Callable[[Path, str], None]
    """The folder with the descriptions and the source's name; before the weights are fetched."""


@dataclass(frozen=True)
class Acquired:
    """A folder that is whole and checked."""

    folder: Path
    revision: str
    size_bytes: int
    offline: str
    """Why the source could not be asked; empty where it was, or did not need to be."""


def acquire(source: Source, wanted: Wanted, cache_dir: Path, progress: Progress) -> Acquired:
    """One attempt. Raises ModelFault."""
    reference, store = source.reference, Store(cache_dir, source.reference)
    with storage_faults(cache_dir, reference), store.locked():
        offline = ""
        stored = store.whole(reference.pinned) if reference.pinned else None
        if stored is None:
            try:
                revision = source.resolve()
                stored = store.whole(revision)
            except ModelFault as fault:
                stored = _earlier(store, reference, fault)
                offline = fault.message
        if stored is None:
            stored = _fetch(source, revision, wanted, store, progress)
        else:
            wanted.check(stored.folder, reference.shown)
            progress.expect(sum(stored.sizes.values()), already=sum(stored.sizes.values()))
        if not offline:
            store.remember(stored.revision)
        size = check_weights(stored.folder, stored.weights, reference.shown)
        return Acquired(stored.folder, stored.revision, size, offline)


def _earlier(store: Store, reference: Reference, fault: ModelFault) -> Whole:
    """What the reference meant when it was last asked. Raises `fault` where that is not here, or where the source did
    answer: a token that was withdrawn must not go on working."""
    if fault.reason != "SourceUnreachable":
        raise fault
    # A pinned reference may mean something else, too: the digest of an index that of the manifest for this machine.
    for revision in (reference.pinned, store.resolved()):
        stored = store.whole(revision, any_version=True) if revision else None
        if stored is not None:
            return stored
    raise fault


def _fetch(source: Source, revision: str, wanted: Wanted, store: Store, progress: Progress) -> Whole:
    reference, folder = source.reference, store.folder(revision)
    entries = source.list(store.downloads, progress)
    selection = wanted.select(entries, reference.shown)
    names = (*selection.descriptions, *selection.weights)
    source.fetch(selection.descriptions, folder, progress)
    wanted.check(folder, reference.shown)
    _expect(progress, folder, {name: entries[name].size for name in names}, reference)
    source.fetch(selection.weights, folder, progress)
    digests = _checked_digests(folder, names, entries, reference)
    try:
        check_weights(folder, selection.weights, reference.shown)
    except CorruptWeights as fault:
        for path in fault.files:
            path.unlink(missing_ok=True)
        raise
    return store.seal(revision, digests, selection.weights)


def _expect(progress: Progress, folder: Path, sizes: dict[str, int], reference: Reference) -> None:
    already = sum(size for name, size in sizes.items() if (folder / name).is_file())
    progress.expect(sum(sizes.values()), already=already)
    missing = sum(sizes.values()) - already
    make_room(folder, max(0, missing - begun(folder)), reference)


def _checked_digests(
    folder: Path, names: Iterable[str], entries: Mapping[str, Entry], reference: Reference
) -> dict[str, str]:
    """sha256 of each file; ModelCorrupt where it is not the one that the source lists."""
    found = digests_of(folder, names)
    for name, digest in found.items():
        listed = entries[name].sha256
        if listed is not None and listed != digest:
            (folder / name).unlink()
            raise wrong_digest(name, reference, found=digest, wanted=listed)
    return found
