"""Which quantised checkpoints this image can load. Pure, but for a look at which packages are installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from slipway_runtime.errors import ModelFault

# quant_method of config.json → the package that transformers needs for it. Methods that unpickle (gguf, quip) or that
# only train are not here.
_NEEDS = {
    "compressed-tensors": "compressed_tensors",
    "bitsandbytes": "bitsandbytes",
    "torchao": "torchao",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "hqq": "hqq",
    "quanto": "optimum.quanto",
    "aqlm": "aqlm",
    "eetq": "eetq",
    "fbgemm_fp8": "fbgemm_gpu",
    "vptq": "vptq",
    "spqr": "spqr_quant",
    "auto-round": "auto_round",
    "quark": "quark",
}
# Done by transformers and torch alone.
_BUILT_IN = ("fp8",)


def check_quantisation(config: dict[str, Any], model: str, installed: Callable[[str], bool] | None = None) -> None:
    """Raises ModelFault TaskNotSupported where config.json asks for a method that this image lacks."""
    asked = quantisation(config)
    if asked is None:
        return
    method = str(asked.get("quant_method") or ("bitsandbytes" if _bits(asked) else ""))
    here = installed or _installed
    if method in _BUILT_IN or (method in _NEEDS and here(_NEEDS[method])):
        return
    able = sorted([*_BUILT_IN, *(name for name, package in _NEEDS.items() if here(package))])
    needed = f", which needs the package {_NEEDS[method]}" if method in _NEEDS else ""
    raise ModelFault(
        "TaskNotSupported",
        f"{model} is quantised by {method[:40]!r}{needed}; this image loads {', '.join(able)}. Name a checkpoint of "
        "one of these, or one that is not quantised",
        "model",
    )


def check_quantising(wanted: str, config: dict[str, Any], task: str, model: str) -> None:
    """SLIPWAY_QUANTIZATION: raises ModelFault where the weights are quantised already, or cannot be while loading."""
    if not wanted:
        return
    already = quantisation(config)
    if already is None and task != "text-to-image":
        return
    method = str((already or {}).get("quant_method"))[:40]
    why = "text-to-image is not quantised here" if already is None else f"its weights are quantised by {method!r}"
    raise ModelFault(
        "BadConfiguration",
        f"SLIPWAY_QUANTIZATION={wanted} and {model}: {why}. Leave the variable out, or name another checkpoint",
        "env",
    )


def quantisation(config: dict[str, Any]) -> dict[str, Any] | None:
    """The quantization_config, which multimodal models keep with their text part; None where there is none."""
    for part in (config, config.get("text_config")):
        found = part.get("quantization_config") if isinstance(part, dict) else None
        if isinstance(found, dict) and found:
            return found
    # Checkpoints of early compressed-tensors.
    found = config.get("compression_config")
    return {"quant_method": "compressed-tensors"} if isinstance(found, dict) else None


def _bits(asked: dict[str, Any]) -> bool:
    return bool(asked.get("load_in_4bit") or asked.get("load_in_8bit"))


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a package's parent
        return False
