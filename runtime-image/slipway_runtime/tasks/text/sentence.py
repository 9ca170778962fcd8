"""What a sentence-transformers repository says about its vectors. Pure: files → SentenceConfig.

Format (as that library writes it): modules.json lists the modules in order with their folders; 1_Pooling/config.json
the pooling modes; sentence_bert_config.json max_seq_length and do_lower_case; config_sentence_transformers.json the
prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from slipway_runtime.errors import ModelFault

# In the order in which sentence-transformers concatenates them.
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
_OLD_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_SERVED = ("Transformer", "Pooling", "Normalize", "Dense")


@dataclass(frozen=True)
class DenseConfig:
    """One linear layer after the pooling."""

    folder: str
    activation: str
    """Class name in torch.nn."""


@dataclass(frozen=True)
class SentenceConfig:
    """How texts become one vector each."""

    transformer: str = ""
    """Folder of the transformer inside the repository."""
    max_tokens: int | None = None
    lower_case: bool = False
    pooling: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    """Whether the prompt's tokens take part in the pooling."""
    dense: tuple[DenseConfig, ...] = ()
    normalize: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None


def read(folder: Path, source: str) -> SentenceConfig:
    """Read it; ModelFault where a module or mode is not served, since vectors would then be wrong."""
    modules = _load(folder / "modules.json")
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    for kind in kinds:
        if kind not in _SERVED:
            raise ModelFault(
                "TaskNotSupported",
                f"{source}: modules.json has a {kind} module; this runtime serves {', '.join(_SERVED)}",
                "model",
            )
    places = {kind: str(module.get("path", "")) for kind, module in zip(kinds, modules, strict=True)}
    transformer = folder / places.get("Transformer", "")
    limits = _first_of(transformer, "sentence_bert_config.json", "sentence_roberta_config.json")
    pooling = _load(folder / places["Pooling"] / "config.json")
    prompts = _first_of(folder, "config_sentence_transformers.json")
    return SentenceConfig(
        transformer=places.get("Transformer", ""),
        max_tokens=limits.get("max_seq_length"),
        lower_case=bool(limits.get("do_lower_case", False)),
        pooling=_modes(pooling, source),
        include_prompt=bool(pooling.get("include_prompt", True)),
        dense=tuple(
            _dense(folder, str(module["path"])) for kind, module in zip(kinds, modules, strict=True) if kind == "Dense"
        ),
        normalize="Normalize" in kinds,
        prompts={name: str(text) for name, text in (prompts.get("prompts") or {}).items()},
        default_prompt=prompts.get("default_prompt_name"),
    )


def _modes(config: dict[str, Any], source: str) -> tuple[str, ...]:
    named = config.get("pooling_mode")  # newer files name the modes instead of switching each
    wanted = {named} if isinstance(named, str) else set(named or ())
    wanted |= {mode for key, mode in _OLD_KEYS.items() if config.get(key)}
    unknown = wanted - set(POOLING_MODES)
    if unknown or not wanted:
        raise ModelFault(
            "TaskNotSupported",
            f"{source}: pooling mode {', '.join(sorted(map(str, unknown))) or 'none'}; this runtime serves "
            f"{', '.join(POOLING_MODES)}",
            "model",
        )
    return tuple(mode for mode in POOLING_MODES if mode in wanted)


def _dense(folder: Path, place: str) -> DenseConfig:
    config = _load(folder / place / "config.json")
    return DenseConfig(place, str(config.get("activation_function", "torch.nn.Tanh")).rpartition(".")[2])


def _first_of(folder: Path, *names: str) -> dict[str, Any]:
    for name in names:
        if (folder / name).exists():
            config: dict[str, Any] = _load(folder / name)
            return config
    return {}


def _load(path: Path) -> Any:
    return orjson.loads(path.read_bytes())
