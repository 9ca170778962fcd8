"""Repositories of diffusers: a model_index.json that names one component per folder. Pure, apart from `check_index`'s
file. What selection.py and safety.py are for transformers' layout.

diffusers imports what model_index.json names, from the repository if it has such a file. So only components of
diffusers and transformers themselves are let through, in folders of a closed list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from slipway_runtime.errors import ModelFault

INDEX = "model_index.json"
_FOLDERS = (
    "unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2",
    "tokenizer_3", "scheduler", "safety_checker", "feature_extractor", "image_encoder",
)  # fmt: skip
_IN_FOLDER = rf"(?:{'|'.join(_FOLDERS)})/"
_DESCRIPTIONS = re.compile(
    rf"^model_index\.json$|^{_IN_FOLDER}(?:(?:config|scheduler_config|generation_config|preprocessor_config|tokenizer"
    r"|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|vocab\.txt|merges\.txt|[A-Za-z0-9_.-]+\.model)$"
)
_SINGLE = re.compile(rf"^{_IN_FOLDER}(?:model|diffusion_pytorch_model)\.safetensors$")
_SHARD = re.compile(rf"^{_IN_FOLDER}(?:model|diffusion_pytorch_model)-\d{{5}}-of-\d{{5}}\.safetensors$")
_SHARDS = re.compile(rf"^{_IN_FOLDER}(?:model|diffusion_pytorch_model)\.safetensors\.index\.json$")
_PICKLE = re.compile(rf"^{_IN_FOLDER}[^/]+\.(?:bin|pt|pth|ckpt|pkl|pickle)$")
# "stable_diffusion" is how early repositories name diffusers' own module with the safety checker.
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
_WORD = re.compile(r"^[A-Za-z]\w*$", re.ASCII)


def is_diffusion(names: Sequence[str]) -> bool:
    """Whether these are the files of a diffusers repository."""
    return INDEX in names and "config.json" not in names


def select(names: Sequence[str], source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(descriptions, weights) of sorted `names`. Raises ModelFault where a component's weights are no safetensors."""
    single = [name for name in names if _SINGLE.match(name)]
    folders = {_folder(name) for name in single}
    shards = [name for name in names if _SHARD.match(name) and _folder(name) not in folders]
    indexes = [name for name in names if _SHARDS.match(name) and _folder(name) not in folders]
    whole = folders | {_folder(name) for name in shards}
    pickles = [name for name in names if _PICKLE.match(name) and _folder(name) not in whole]
    if pickles:
        raise ModelFault(
            "UnsafeFormat",
            f"{source} has components only as pickle ({', '.join(pickles[:3])}), which can run code when loaded. Only "
            "safetensors is loaded: add them to the repository, or name a revision that has them",
            "model",
        )
    if not single and not shards:
        raise ModelFault("ModelCorrupt", f"{source} has no safetensors in the folders of its components", "model")
    descriptions = [name for name in names if _DESCRIPTIONS.match(name)]
    return (*descriptions, *indexes), (*single, *shards)


def check_index(index: dict[str, Any], source: str) -> None:
    """Refuse a model_index.json that asks for anything but diffusers' and transformers' own classes."""
    kind = index.get("_class_name")
    if not isinstance(kind, str) or not _WORD.match(kind):
        raise _code_of_its_own(f"_class_name {kind!r}", source)
    for name, entry in components(index).items():
        library, component = (*entry, None, None)[:2]
        if len(entry) != 2 or library not in _LIBRARIES or not _WORD.match(str(component)):
            raise _code_of_its_own(f"{name}: {entry!r}", source)
        if name not in _FOLDERS:
            raise ModelFault(
                "TaskNotSupported",
                f"{source} has the component {str(name)[:80]!r}, which is not served; served are {', '.join(_FOLDERS)}",
                "model",
            )


def components(index: dict[str, Any]) -> dict[str, list[Any]]:
    """Folder → [library, class] of the components that are there; [null, null] means left out."""
    lists = {name: entry for name, entry in index.items() if isinstance(entry, list) and not name.startswith("_")}
    return {name: entry for name, entry in lists.items() if any(part is not None for part in entry)}


def _code_of_its_own(what: str, source: str) -> ModelFault:
    return ModelFault(
        "UnsafeFormat",
        f"{source} needs code of its own ({what[:120]} in {INDEX}), which is never run. Use a pipeline whose parts are "
        "classes of diffusers and transformers",
        "model",
    )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
