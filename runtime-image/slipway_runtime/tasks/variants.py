"""LoRA adapters over one loaded model, by PEFT; each request chooses by name.

PEFT puts its layers into the model in place, so every task's forward goes through them; which of them are on is a state
of the model. Forwards run one at a time in the inference thread, so `Switched` sets that state and runs. Batches are of
equal forwards: an item with another adapter, or none, never shares one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file

from slipway_runtime.artifacts import AdapterFiles
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Continuous, Feed, Forward, Item, Loaded

_PREFIX = "base_model.model."
_LORA = re.compile(r"(?P<module>.+)\.lora_(?:(?P<part>A|B)\.weight|embedding_(?P<embedding>A|B))")


def attach(loaded: Loaded, adapters: Sequence[AdapterFiles]) -> Loaded:
    """`loaded` with its variants. Raises ModelFault where an adapter does not fit the model."""
    if not isinstance(loaded.model, torch.nn.Module):
        raise ModelFault(
            "BadConfiguration", f"adapters are not served for {loaded.task}: leave them out", "model.adapters"
        )
    variants = LoraVariants(loaded.model)
    for adapter in adapters:
        variants.add(adapter)
    return replace(loaded, variants=variants)


@dataclass(frozen=True)
class Switched:
    """A forward with one adapter on, or none. Equal to another of the same adapter and forward."""

    variants: LoraVariants
    name: str
    inner: Forward

    def __call__(self, items: Sequence[Item]) -> list[Any]:
        self.variants.switch(self.name)
        return self.inner(items)


@dataclass(frozen=True)
class SwitchedContinuous(Switched, Continuous):
    """The same of a continuous forward: while it runs, its adapter is on."""

    inner: Continuous

    def run(self, items: Sequence[Item], feed: Feed) -> None:
        """See tasks/adapter.py's Continuous."""
        self.variants.switch(self.name)
        self.inner.run(items, feed)


class LoraVariants:
    """The adapters of one model; hashed and compared by identity."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._peft: Any = None
        self._internal: dict[str, str] = {}  # PEFT makes keys of modules of its names, which may hold no dots
        self._on: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may name."""
        return tuple(self._internal)

    def forward(self, name: str, inner: Forward) -> Forward:
        if isinstance(inner, Continuous):
            return SwitchedContinuous(self, name, inner)
        return Switched(self, name, inner)

    def switch(self, name: str) -> None:
        """In the inference thread: this adapter on, all others off; "": none."""
        if name == self._on:
            return
        self._on = None  # were it to fail half-way, the next call sets it anew
        if not name:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(self._internal[name])
        self._model.requires_grad_(False)
        self._on = name

    def add(self, adapter: AdapterFiles) -> None:
        """Put one more into the model, off. Raises ModelFault with its name."""
        tensors = load_file(adapter.weights)
        config = _config(self._model, adapter, tensors)
        internal = f"a{len(self._internal)}"
        try:
            self._inject(config, internal)
            result: Any = set_peft_model_state_dict(self._peft, tensors, adapter_name=internal)
        except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
            shapes = "size mismatch" in str(error)
            raise _misfit(adapter, "the shapes differ" if shapes else type(error).__name__) from None
        missing = [key for key in result.missing_keys if f".{internal}." in key or key.endswith(f".{internal}")]
        if missing or result.unexpected_keys:
            odd = (result.unexpected_keys or missing)[0]
            raise _misfit(adapter, f"no place for {odd}" if result.unexpected_keys else f"{odd} is missing")
        self._peft.eval()
        self._internal[adapter.name] = internal
        self._on = None
        self.switch("")

    def _inject(self, config: LoraConfig, internal: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT asks models for names that transformers is about to drop
            if self._peft is None:
                self._peft = PeftModel(self._model, config, internal, autocast_adapter_dtype=False)
            else:
                self._peft.add_adapter(internal, config, autocast_adapter_dtype=False)


def _config(model: torch.nn.Module, adapter: AdapterFiles, tensors: dict[str, torch.Tensor]) -> LoraConfig:
    """PEFT's configuration, made of the tensors' names and shapes and of the few settings that are read."""
    settings, ranks = adapter.config, dict[str, int]()
    for key, tensor in tensors.items():
        match = _LORA.fullmatch(key.removeprefix(_PREFIX))
        if match and "A" in (match["part"], match["embedding"]):
            ranks[match["module"]] = int(tensor.shape[0])
    modules = dict(model.named_modules())
    if not ranks:
        raise _misfit(adapter, "it has no LoRA weights")
    if lost := next((name for name in ranks if name not in modules), None):
        raise _misfit(adapter, f"{type(model).__name__} has no {lost}")
    heads = {key.removeprefix(_PREFIX) for key in tensors if ".lora_" not in key}
    saved = [name for name in settings.modules_to_save if any(f".{name}." in f".{key}" for key in heads)]
    return LoraConfig(
        r=max(ranks.values()),
        lora_alpha=settings.alpha,  # type: ignore[arg-type] # it may be a fraction
        target_modules=sorted(ranks),
        rank_pattern={f"^{re.escape(name)}$": rank for name, rank in ranks.items()},
        alpha_pattern=settings.alpha_pattern,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        fan_in_fan_out=settings.fan_in_fan_out,
        lora_bias=settings.lora_bias,
        modules_to_save=saved or None,
        inference_mode=True,
    )


def _misfit(adapter: AdapterFiles, why: str) -> ModelFault:
    return ModelFault(
        "ModelCorrupt",
        f"adapter {adapter.name} ({adapter.source}) does not fit the model: {why}. Was it trained on "
        "another base model?",
        "model.adapters",
    )
