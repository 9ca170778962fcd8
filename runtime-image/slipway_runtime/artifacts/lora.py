"""LoRA adapters: which files, and what adapter_config.json may ask for. Reads no tensors, imports no torch.

The configuration is data from strangers that PEFT acts on: it may name modules to import (auto_mapping, megatron_core),
change the base model's own weights (layer_replication, PiSSA), or bend its answers even when the adapter is off (bias).
So only a closed list of fields gets through, and the modules come from the weights' names, never from a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts.safety import read_object
from slipway_runtime.artifacts.selection import Selection
from slipway_runtime.errors import ModelFault

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PICKLE = re.compile(r"adapter_model\.(?:bin|pt|pth|pkl)")
_CODE = ("auto_mapping", "megatron_core", "megatron_config", "auto_map")
_TRANSFORMERS = re.compile(r"transformers\.models(?:\.\w+)+", re.ASCII)
# Fields that change what the layers compute. Whatever else is set is refused by name, so that an adapter is never
# served otherwise than it was trained.
_UNSERVED = (
    "layer_replication", "trainable_token_indices", "target_parameters", "use_qalora", "use_bdlora", "arrow_config",
    "alora_invocation_tokens", "monteclora_config", "velora_config", "kasa_config",
)  # fmt: skip
_ALPHA_KEY = re.compile(r"\^?[\w.]+\$?")  # PEFT takes them as regular expressions


@dataclass(frozen=True)
class LoraSettings:
    """What adapter_config.json says, as far as it is used."""

    alpha: float
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    modules_to_save: tuple[str, ...] = ()


def select_adapter(paths: Iterable[str], source: str) -> Selection:
    """The two files of an adapter. Raises ModelFault."""
    names = set(paths)
    if CONFIG not in names:
        raise ModelFault(
            "BadConfiguration", f"{source} has no {CONFIG}, so it is not an adapter of PEFT", "model.adapters"
        )
    if WEIGHTS not in names:
        pickles = sorted(name for name in names if _PICKLE.fullmatch(name))
        if pickles:
            raise ModelFault(
                "UnsafeFormat",
                f"{source} has its weights only as pickle ({pickles[0]}), which can run code when loaded. Save it "
                "again with save_pretrained, which writes adapter_model.safetensors",
                "model.adapters",
            )
        raise ModelFault("ModelCorrupt", f"{source} has no {WEIGHTS}", "model.adapters")
    return Selection(descriptions=(CONFIG,), weights=(WEIGHTS,))


def check_adapter(folder: Path, source: str) -> None:
    """Raises ModelFault for a configuration that is not served."""
    read_adapter(folder, source)


def read_adapter(folder: Path, source: str) -> LoraSettings:
    """The configuration. Raises ModelFault."""
    config = read_object(folder / CONFIG, source)
    for key in _CODE:
        if config.get(key) and not _inert(key, config):
            raise ModelFault(
                "UnsafeFormat",
                f"{source} needs code of its own ({key} in {CONFIG}), which is never run",
                "model.adapters",
            )
    kind = config.get("peft_type")
    if kind != "LORA":
        raise _unserved(source, f"its peft_type is {str(kind)[:40]!r}; LORA is served")
    if config.get("bias", "none") != "none":
        raise _unserved(
            source, f"bias is {str(config['bias'])[:40]!r}, which changes the base model's answers; none is served"
        )
    if asked := next((key for key in _UNSERVED if config.get(key)), None):
        raise _unserved(source, f"it uses {asked}, which is not served")
    return _settings(config, source)


def _settings(config: dict[str, Any], source: str) -> LoraSettings:
    pattern, saved = config.get("alpha_pattern") or {}, config.get("modules_to_save") or ()
    alpha = config.get("lora_alpha", 8)
    if not _number(alpha) or not isinstance(pattern, dict) or not all(_number(v) for v in pattern.values()):
        raise _corrupt(source, "lora_alpha and the values of alpha_pattern must be numbers")
    if odd := next((key for key in pattern if not _ALPHA_KEY.fullmatch(key)), None):
        raise _unserved(source, f"alpha_pattern has the key {odd[:80]!r}; names of modules are served")
    if not isinstance(saved, list | tuple) or not all(isinstance(name, str) and name for name in saved):
        raise _corrupt(source, "modules_to_save must be a list of names")
    return LoraSettings(
        alpha=float(alpha),
        alpha_pattern={key: float(value) for key, value in pattern.items()},
        use_rslora=config.get("use_rslora") is True,
        use_dora=config.get("use_dora") is True,
        fan_in_fan_out=config.get("fan_in_fan_out") is True,
        lora_bias=config.get("lora_bias") is True,
        modules_to_save=tuple(saved),
    )


def _inert(key: str, config: dict[str, Any]) -> bool:
    """What PEFT itself writes into adapters of ordinary models; neither is acted on here."""
    if key == "megatron_core":
        return bool(config[key] == "megatron.core")
    mapping = config[key]
    if key != "auto_mapping" or not isinstance(mapping, dict):
        return False
    return bool(_TRANSFORMERS.fullmatch(str(mapping.get("parent_library"))))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unserved(source: str, what: str) -> ModelFault:
    return ModelFault("BadConfiguration", f"{source} cannot be served as an adapter: {what}", "model.adapters")


def _corrupt(source: str, what: str) -> ModelFault:
    return ModelFault("ModelCorrupt", f"{CONFIG} of {source}: {what}", "model.adapters")
