"""Decoders as the server loads them beside what transformers' `generate` writes, and the engine of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from slipway_runtime.tasks.adapter import Item, Limits, Loaded
from slipway_runtime.tasks.generation.engine import Engine
from slipway_runtime.tasks.generation.prompt import Prompt

from tests.support.asking import load
from tests.support.tiny import generation

# Those that continuous batches admit. Those with a window have one of 8 tokens, shorter than most of the prompts.
ADMITTED = (
    "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma3", "Starcoder2", "Phi", "GPTNeoX", "GPT2", "GPTBigCode", "GPTJ",
    "CodeGen", "GPTNeo", "OPT", "XGLM", "Bloom", "Mpt", "Falcon",
)  # fmt: skip


class Models:
    """The model of an architecture as the server loads it, and as transformers does; each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, tuple[Loaded, Any]] = {}

    def __call__(self, kind: str) -> tuple[Loaded, Any]:
        from transformers import AutoModelForCausalLM

        if kind not in self._made:
            folder = generation.decoder(self._folder / kind, kind=kind)
            reference = AutoModelForCausalLM.from_pretrained(folder)
            self._made[kind] = load(folder, limits=Limits(max_new_tokens=200)), reference
        return self._made[kind]


def engine_of(loaded: Loaded) -> Engine:
    adapter: Any = loaded.adapters[loaded.task]
    engine: Engine = adapter._engine
    return engine


def item_of(engine: Engine, ids: Sequence[int], new: int = 6, caller: str = "", **settings: Any) -> Item:
    return replace(engine.item(Prompt(ids, max_new_tokens=new, **settings)), caller=caller)


def prompt_of(length: int, seed: int) -> list[int]:
    return torch.randint(6, 250, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def generated(model: Any, ids: list[int], new: int, **settings: Any) -> list[int]:
    """What transformers writes for this prompt alone, greedily, to the last token asked for."""
    whole = model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=new,
        pad_token_id=0,
        **settings,
    )
    made: list[int] = whole[0, len(ids) :].tolist()
    return made


def written(outputs: list[Any]) -> list[list[int]]:
    return [[token.id for token in output.tokens] for output in outputs]


def cached(outputs: Sequence[Any]) -> list[int | None]:
    return [output.cached_tokens for output in outputs]
