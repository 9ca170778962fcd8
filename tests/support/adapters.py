"""LoRA adapters of random weights, made by PEFT as people make them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def trained(
    base: Path, folder: Path, *, seed: int = 1, auto_class: str = "AutoModelForSequenceClassification", **config: Any
) -> Any:
    """Save an adapter of `base` to `folder`; returns the model with it merged into the weights."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = getattr(transformers, auto_class).from_pretrained(base)
    settings: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["query", "value"],
        "init_lora_weights": False,
    } | config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped: Any = get_peft_model(model, LoraConfig(**settings))
        if settings.get("modules_to_save"):
            for name, parameter in wrapped.named_parameters():
                if "modules_to_save" in name:
                    parameter.data.normal_(std=0.5)
        wrapped.save_pretrained(folder)
        return wrapped.merge_and_unload().eval()
