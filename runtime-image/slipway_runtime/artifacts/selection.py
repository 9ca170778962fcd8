"""Which files of a repository are needed. Pure.

An allowlist of names, in two groups: descriptions (small, fetched and checked first) and weights. Everything else stays
where it is: pickles, code, other frameworks' formats, documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slipway_runtime.artifacts import diffusion
from slipway_runtime.errors import ModelFault

# Also inside the numbered folders of sentence-transformers modules: 1_Pooling/config.json.
_MODULE = r"(?:\d+_[A-Za-z]+/)?"
_DESCRIPTIONS = re.compile(
    rf"^{_MODULE}(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|preprocessor_config|video_preprocessor_config|processor_config|chat_template|modules"
    r"|config_sentence_transformers|sentence_[a-z]+_config)\.json$"
    rf"|^{_MODULE}(?:vocab\.txt|merges\.txt|bpe\.codes|chat_template\.jinja|[A-Za-z0-9_.-]+\.model)$"
    r"|^README\.md$"  # the model card: its samples are offered on the test page
)
_SINGLE = re.compile(rf"^{_MODULE}model\.safetensors$")
_SHARD = re.compile(rf"^{_MODULE}model-\d{{5}}-of-\d{{5}}\.safetensors$")
_INDEX = re.compile(rf"^{_MODULE}model\.safetensors\.index\.json$")
_PICKLES = re.compile(r"\.(?:bin|pt|pth|ckpt|pkl|pickle)$")


@dataclass(frozen=True)
class Selection:
    """Paths inside the repository."""

    descriptions: tuple[str, ...]
    weights: tuple[str, ...]


def select(paths: Iterable[str], source: str) -> Selection:
    """Choose from all files of a repository; `source` is its name for messages.

    Raises ModelFault UnsafeFormat when there are weights but none in safetensors, ModelCorrupt when there is no
    config or no weights at all.
    """
    # "$" matches before a newline at the end as well, so names with control characters are out from the start.
    names = sorted(name for name in paths if name.isprintable())
    if diffusion.is_diffusion(names):
        return Selection(*diffusion.select(names, source))
    if "config.json" not in names and not any(name.endswith("_Transformer/config.json") for name in names):
        if "adapter_config.json" in names:
            raise ModelFault(
                "BadConfiguration",
                f"{source} is an adapter (it has adapter_config.json), not a model: name its base model",
                "model",
            )
        raise ModelFault("ModelCorrupt", f"{source} has no config.json, so it is not a transformers model", "model")
    single = [name for name in names if _SINGLE.match(name)]
    sharded = [name for name in names if _SHARD.match(name) or _INDEX.match(name)]
    folders = {_folder(name) for name in single}
    weights = single + [name for name in sharded if _folder(name) not in folders]
    if not any(_folder(name) == "" or _folder(name).endswith("_Transformer") for name in weights):
        pickles = [name for name in names if _PICKLES.search(name)]
        if pickles:
            raise ModelFault(
                "UnsafeFormat",
                f"{source} has its weights only as pickle ({', '.join(pickles[:3])}), which can run code when loaded. "
                "Only safetensors is loaded: add a model.safetensors to the repository "
                "(https://huggingface.co/spaces/safetensors/convert), or name a revision that has one",
                "model",
            )
        raise ModelFault("ModelCorrupt", f"{source} has no model.safetensors and no other weights", "model")
    descriptions = tuple(name for name in names if _DESCRIPTIONS.match(name))
    descriptions += tuple(name for name in weights if _INDEX.match(name))
    _refuse_collisions((*descriptions, *weights), source)
    return Selection(descriptions, tuple(name for name in weights if not _INDEX.match(name)))


def _refuse_collisions(names: tuple[str, ...], source: str) -> None:
    """Two names that differ only in case are one file on some disks: which of them was checked would be chance."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys(names):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ModelFault("UnsafeFormat", f"{source} has both {other} and {name}: remove one of them", "model")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
