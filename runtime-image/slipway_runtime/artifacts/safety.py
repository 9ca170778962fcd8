"""What a model's files may not ask for. Each check raises ModelFault with what to do.

The rules hold by file type and isolation, not by a flag alone: `trust_remote_code=False` was bypassed three times in
peers (CVE-2025-66448, 2026-22807, 2026-27893), so configs that ask for code are refused before any library sees them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from slipway_runtime.artifacts import diffusion
from slipway_runtime.errors import ModelFault

MAX_DESCRIPTION_BYTES = 64 * 1024**2  # the largest tokenizer.json on the Hub is around 35 MB
_CODE_KEYS = ("auto_map", "custom_pipelines")
_KERNEL_KEYS = ("attn_implementation", "experts_implementation")
_CODE_FILES = (
    "config.json",
    "model_index.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
)
_MODULE_TYPES = "sentence_transformers."


def check_descriptions(folder: Path, source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Check every description in `folder`; returns config.json and the sentence-transformers module names.

    Of a diffusers repository: model_index.json, and no modules.
    """
    for path in sorted(folder.rglob("*.json")):
        if path.name in _CODE_FILES and ".cache" not in path.parts:
            _refuse_code(read_object(path, source), path.relative_to(folder), source)
    if (folder / diffusion.INDEX).exists() and not (folder / "config.json").exists():
        index = read_object(folder / diffusion.INDEX, source)
        diffusion.check_index(index, source)
        return index, ()
    modules = _module_names(folder, source)
    transformer = next((p for p in sorted(folder.glob("*_Transformer")) if modules), folder)
    config_path = folder / "config.json"
    config = read_object(config_path if config_path.exists() else transformer / "config.json", source)
    return config, modules


def read_object(path: Path, source: str) -> dict[str, Any]:
    """A JSON object from a file of the model; ModelCorrupt if it is none."""
    data = _read_json(path, source)
    if not isinstance(data, dict):
        raise ModelFault("ModelCorrupt", f"{path.name} of {source} is not a JSON object", "model")
    return data


def _read_json(path: Path, source: str) -> Any:
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ModelFault(
            "ModelCorrupt", f"{path.name} of {source} is larger than {MAX_DESCRIPTION_BYTES} bytes", "model"
        )
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ModelFault(
            "ModelCorrupt",
            f"{path.name} of {source} is not valid JSON (line {error.lineno}, column {error.colno})",
            "model",
        ) from None


def _refuse_code(config: dict[str, Any], path: Path, source: str) -> None:
    """At any depth: configs of parts stand inside the model's."""
    waiting: list[Any] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if key := next((key for key in part if _asks_for_code(key, part[key])), None):
                raise ModelFault(
                    "UnsafeFormat",
                    f"{source} needs code of its own ({key} in {path}), which is never run. Use a model whose "
                    f"architecture transformers itself has, or a revision without {key}",
                    "model",
                )


def _asks_for_code(key: str, value: object) -> bool:
    # A kernel named owner/name would be fetched from the Hub and run.
    kernel = key.endswith(_KERNEL_KEYS) and isinstance(value, str) and "/" in value
    return kernel or (key in _CODE_KEYS and bool(value))


def _module_names(folder: Path, source: str) -> tuple[str, ...]:
    path = folder / "modules.json"
    if not path.exists():
        return ()
    entries = _read_json(path, source)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelFault("ModelCorrupt", f"modules.json of {source} is not a list of objects", "model")
    names = []
    for entry in entries:
        kind, place = str(entry.get("type", "")), str(entry.get("path", ""))
        if not kind.startswith(_MODULE_TYPES):
            raise ModelFault(
                "UnsafeFormat",
                f"{source} needs code of its own ({kind!r} in modules.json), which is never run",
                "model",
            )
        resolved = (folder / place).resolve()
        if not resolved.is_relative_to(folder.resolve()):
            raise ModelFault(
                "UnsafeFormat", f"modules.json of {source} has the path {place!r}, outside the model", "model"
            )
        names.append(kind.rpartition(".")[2])
    return tuple(names)


def refuse_links_out(folder: Path, source: str) -> None:
    """No link in a folder may lead out of it: a model could otherwise read any file of the container."""
    root = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ModelFault(
                "UnsafeFormat",
                f"{source}: {path.relative_to(folder)} is a link that leads out of the folder. Copy the files "
                "themselves (for a Hub repository: hf download ID --local-dir DIR)",
                "model.uri",
            )
