"""From a reference to a folder that is safe to load: hub or folder → select → check → Artifact. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Artifact:
    """A model on disk, checked: safetensors weights, no code, no link that leads out."""

    folder: Path
    id: str
    revision: str | None
    """The commit, None for a folder."""
    config: dict[str, Any]
    """config.json."""
    modules: tuple[str, ...]
    """Class names of a sentence-transformers modules.json in order, empty where there is none."""
    size_bytes: int
    format: str = "safetensors"
