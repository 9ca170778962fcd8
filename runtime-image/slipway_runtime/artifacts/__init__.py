"""From a reference to a folder that is safe to load. Never imports torch.

settings → reference.py → fetch.py picks the source (hub, s3, https, oci, folder) → acquire.py: resolve, list, select,
check, fetch, digests → Artifact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipway_runtime.artifacts.lora import LoraSettings


@dataclass(frozen=True)
class AdapterFiles:
    """A LoRA adapter on disk, checked."""

    name: str
    source: str
    """For messages."""
    config: LoraSettings
    weights: Path


@dataclass(frozen=True)
class Artifact:
    """A model on disk, checked: safetensors weights, no code, no link that leads out."""

    folder: Path
    id: str
    revision: str | None
    """The commit, or a digest: of the archive, of the manifest, of the objects' etags. None for a folder."""
    config: dict[str, Any]
    """config.json."""
    modules: tuple[str, ...]
    """Class names of a sentence-transformers modules.json in order, empty where there is none."""
    size_bytes: int
    format: str = "safetensors"
    offline: str = ""
    """Why the source could not be asked, where what had been fetched before is served."""
    adapters: tuple[AdapterFiles, ...] = ()
    dtype: str = "auto"
    """What it is to be computed in: SLIPWAY_DTYPE."""
    quantization: str = ""
    """What its weights are to be made while loading: SLIPWAY_QUANTIZATION."""
