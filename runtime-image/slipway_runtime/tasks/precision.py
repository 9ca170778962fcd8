"""Which type a model is computed in: SLIPWAY_DTYPE, and what it means on this processor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.quantised import quantisation

logger = logging.getLogger("slipway_runtime")
# Names of torch.cpu.get_capabilities: any of them multiplies the type as it is.
_NATIVE = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
}


def dtype_of(artifact: Artifact, device: torch.device) -> torch.dtype | None:
    """The type to load a model's weights in; None: the checkpoint's own."""
    asked = artifact.dtype
    if asked == "auto":
        # Half precision moves scores, and many a processor is slower with it; a quantiser decides for itself.
        plain = device.type == "cpu" and quantisation(artifact.config) is None
        return torch.float32 if plain else None
    if device.type == "cpu" and converts(asked, torch.cpu.get_capabilities()):
        logger.warning(
            "this processor converts %s at every step, which is slower than float32: it has none of %s",
            asked,
            ", ".join(_NATIVE[asked]),
        )
    dtype: torch.dtype = getattr(torch, asked)
    return dtype


def converts(dtype: str, capabilities: Mapping[str, Any]) -> bool:
    """Whether a processor has to convert this type to compute with it. `capabilities`: torch.cpu.get_capabilities()."""
    return dtype in _NATIVE and not any(capabilities.get(name) for name in _NATIVE[dtype])
