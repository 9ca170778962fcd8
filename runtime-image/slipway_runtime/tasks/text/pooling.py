"""Token vectors → one vector per text, as sentence-transformers does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.text.sentence import DenseConfig, SentenceConfig

# By name, never by import path: the config names a class, and importing what a config says is running its code.
_ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "Identity": torch.nn.Identity,
    "Tanh": torch.nn.Tanh,
    "ReLU": torch.nn.ReLU,
    "GELU": torch.nn.GELU,
    "Sigmoid": torch.nn.Sigmoid,
}


def pool(hidden: torch.Tensor, mask: torch.Tensor, modes: Sequence[str]) -> torch.Tensor:
    """hidden [batch, tokens, width], mask [batch, tokens] of 0 and 1 → [batch, width x modes]."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    summed, count = (hidden * weights).sum(1), weights.sum(1).clamp(min=1e-9)
    vectors = []
    for mode in modes:
        if mode == "cls":
            first = mask.argmax(1)  # the first real token, wherever the padding is
            vectors.append(hidden[torch.arange(len(hidden)), first])
        elif mode == "max":
            vectors.append(hidden.masked_fill(weights == 0, float("-inf")).max(1).values)
        elif mode == "mean":
            vectors.append(summed / count)
        elif mode == "mean_sqrt_len":
            vectors.append(summed / count.sqrt())
        elif mode == "weightedmean":
            ranks = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype)
            ranked = weights * ranks.view(1, -1, 1)
            vectors.append((hidden * ranked).sum(1) / ranked.sum(1).clamp(min=1e-9))
        else:  # lasttoken
            last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
            vectors.append(hidden[torch.arange(len(hidden)), last])
    return torch.cat(vectors, 1)


def load_dense(folder: Path, config: SentenceConfig, source: str, device: torch.device) -> torch.nn.Sequential:
    """The linear layers after the pooling, perhaps none."""
    return torch.nn.Sequential(*(_layer(folder, dense, source) for dense in config.dense)).to(device).eval()


def _layer(folder: Path, dense: DenseConfig, source: str) -> torch.nn.Module:
    activation = _ACTIVATIONS.get(dense.activation)
    if activation is None:
        raise ModelFault(
            "TaskNotSupported",
            f"{source}: activation {dense.activation!r} in {dense.folder}; served are {', '.join(_ACTIVATIONS)}",
            "model",
        )
    path = folder / dense.folder / "model.safetensors"
    if not path.exists():
        raise ModelFault("UnsafeFormat", f"{source}: {dense.folder} has no model.safetensors", "model")
    state: dict[str, Any] = load_file(path)
    weight = state["linear.weight"].float()
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias="linear.bias" in state)
    linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in state.items()})
    return torch.nn.Sequential(linear, activation())
