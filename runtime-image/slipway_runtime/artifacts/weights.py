"""Are the weights whole? Reads headers only, never the tensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from slipway_runtime.artifacts.safety import read_object
from slipway_runtime.errors import ModelFault

_INDEX = "*.safetensors.index.json"


class CorruptWeights(ModelFault):
    """ModelCorrupt with the files at fault, so that a downloaded copy can be thrown away before the next attempt."""

    def __init__(self, message: str, files: Iterable[Path]) -> None:
        super().__init__("ModelCorrupt", message, "model")
        self.files = tuple(files)


def check_weights(folder: Path, names: Iterable[str], source: str) -> int:
    """Check every safetensors file against its header, and a sharded model for completeness; returns the bytes in all.

    The library compares the offsets of the header with the file's length (a truncated file fails here, not in the
    middle of a load; sizes in headers are not trusted otherwise: CVE-2026-7482).
    """
    total, found = 0, []
    for name in names:
        path = folder / name
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise CorruptWeights(
                f"{name} of {source} is truncated or damaged ({error}; it has {path.stat().st_size} bytes). "
                "Upload the file again; it is fetched anew at the next attempt",
                [path],
            ) from None
        total += path.stat().st_size
        found.append(name)
    _check_shards(folder, found, source)
    return total


def _check_shards(folder: Path, found: list[str], source: str) -> None:
    """The model's own index, and those of a diffusers repository's components."""
    for index in sorted((*folder.glob(_INDEX), *folder.glob(f"*/{_INDEX}"))):
        place = index.parent.relative_to(folder)
        if str(place / index.name.removesuffix(".index.json")) in found:
            continue
        weight_map = read_object(index, source).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CorruptWeights(f"{place / index.name} of {source} has no weight_map", [index])
        missing = sorted({str(name) for name in weight_map.values() if str(place / str(name)) not in found})
        if missing:
            raise CorruptWeights(
                f"{source} is incomplete: {place / index.name} names {', '.join(missing[:3])}, which the repository "
                "does not have",
                [index],
            )
