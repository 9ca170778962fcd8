"""int8 while loading, SLIPWAY_QUANTIZATION=int8: linear layers multiply whole numbers.

A weight has one scale for each of its outputs, found once; what comes in has one for each token, found as it comes. So
no answer depends on its neighbours in a batch; torch's quantize_dynamic has one scale for all of them.

    load_network        layers are replaced, and remember what they were
    the task's load     adapters, and the gate of continuous batches, see the model as it will answer
    check               the same request by both; far apart: ModelFault. Then what they were is forgotten
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.compared import apart, outputs

# Capabilities of torch.cpu: without one of them int8 takes about twice the instructions, which also saturate.
_NATIVE = ("avx512_vnni", "avx_vnni", "amx_int8")
# Smaller layers gain nothing, and the heads of classifiers are among them.
SMALLEST = 64
# cuBLAS takes sides that are multiples of 8, and no fewer than 17 rows.
_MULTIPLE = 8
_ROWS = 32
_TINY = torch.finfo(torch.float32).tiny
# Of outputs' length, see compared.py. Rounding moves them by 0.02 to 0.1; a model whose few large activations leave
# nothing of the others' digits, or a kernel that is wrong, by far more.
MOST = 0.3

logger = logging.getLogger("slipway_runtime")


class Int8Linear(torch.nn.Module):
    """A linear layer's weight in int8. Its outputs have the type of what comes in; NaN and infinity stay visible."""

    scale: torch.Tensor

    def __init__(self, linear: Any) -> None:
        super().__init__()
        exact = linear.weight.detach().float()
        exact = exact.t() if isinstance(linear, Conv1D) else exact
        self.out_features, self.in_features = exact.shape
        scale = exact.abs().amax(1).clamp_(min=_TINY).div_(127)
        whole = (exact / scale[:, None]).round_().to(torch.int8)
        # By this name: some models bring inputs to the type of a layer's weight, unless it is int8.
        self.weight = torch.nn.Parameter(whole, requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias: torch.nn.Parameter | None = linear.bias
        self.was = (linear,)  # in a tuple, so that it is no part of the model

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        rows = given.reshape(-1, self.in_features).float()
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=_TINY).div_(127)
        whole = (rows / scale).round_().to(torch.int8)
        made = _multiply(whole, self.weight.t()).float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            made.add_(self.bias)
        return made.to(given.dtype).reshape(*given.shape[:-1], self.out_features)


def _multiply(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Sums in int32. The operator is the one below torchao and bitsandbytes, and has a private name."""
    count = rows.shape[0]
    if rows.is_cuda and count < _ROWS:
        return torch._int_mm(torch.nn.functional.pad(rows, (0, 0, 0, _ROWS - count)), weight)[:count]
    return torch._int_mm(rows, weight)


def quantise(model: torch.nn.Module, name: str) -> None:
    """Replace the linear layers, in place. Raises ModelFault."""
    made: dict[torch.nn.Module, Int8Linear] = {}  # a layer may stand in several places
    for parent in list(model.modules()):
        for place, layer in list(parent.named_children()):
            if _fits(layer):
                made[layer] = made.get(layer) or Int8Linear(layer)
                setattr(parent, place, made[layer])
    if not made:
        raise ModelFault(
            "BadConfiguration",
            f"SLIPWAY_QUANTIZATION=int8: {name} has no linear layers of {SMALLEST} by {SMALLEST} or more, so there is "
            "nothing to gain. Leave the variable out",
            "env",
        )
    if not torch.cuda.is_available() and not any(torch.cpu.get_capabilities().get(able) for able in _NATIVE):
        logger.warning(
            "this processor is slow with int8, and less exact: it has none of %s; compare with bfloat16 and float32",
            ", ".join(_NATIVE),
        )


def _fits(layer: torch.nn.Module) -> bool:
    # Not what is derived from Linear: such layers do something else with their weight.
    if type(layer) is not torch.nn.Linear and type(layer) is not Conv1D:
        return False
    sides = layer.weight.shape
    return min(sides) >= SMALLEST and not (layer.weight.is_cuda and any(side % _MULTIPLE for side in sides))


@dataclass(frozen=True)
class Quantised:
    """For the log."""

    layers: int
    share: float
    """Of the model's weights."""
    apart: float
    """How far its outputs are from those of the model as it was, as a share of their length."""


def check(loaded: Loaded, name: str) -> Quantised:
    """Ask the model as it is and as it was. Raises ModelFault where the answers are no longer the same ones."""
    layers = [module for module in loaded.model.modules() if isinstance(module, Int8Linear)]
    now = outputs(loaded)
    for layer in layers:
        layer.forward = layer.was[0].forward  # type: ignore[method-assign]
    try:
        moved = apart(now, outputs(loaded))
    finally:
        for layer in layers:
            del layer.forward, layer.was
    if not moved <= MOST:
        what = f"are {moved:.0%} away from its own, more than {MOST:.0%}" if math.isfinite(moved) else "are no longer "
        what += "" if math.isfinite(moved) else "numbers, or of another shape"
        raise ModelFault(
            "BadConfiguration",
            f"SLIPWAY_QUANTIZATION=int8: in int8 the outputs of {name} {what}. Leave the variable out; "
            "SLIPWAY_DTYPE=bfloat16 is more exact",
            "env",
        )
    whole = sum(layer.weight.numel() for layer in layers)
    return Quantised(len(layers), whole / loaded.parameters, moved)
