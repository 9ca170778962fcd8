"""Answers in running batches are those of `generate` one by one, for every architecture that the gate admits; the gate
refuses those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Continuous, Item, Limits, Loaded
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.engine import Engine
from slipway_runtime.tasks.generation.prompt import Prompt

from tests.support.asking import load
from tests.support.feeds import arriving
from tests.support.tiny import generation

# Those with a window have one of 8 tokens, shorter than most of the prompts.
ADMITTED = (
    "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma3", "Starcoder2", "Phi", "GPTNeoX", "GPT2", "GPTBigCode", "GPTJ",
    "CodeGen", "GPTNeo", "OPT", "XGLM", "Bloom", "Mpt", "Falcon",
)  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
# (tokens of the prompt, new tokens, the step before which it arrives)
REQUESTS = ((5, 9, 0), (17, 4, 0), (2, 12, 1), (30, 6, 2), (9, 1, 3), (12, 7, 3), (1, 10, 5), (23, 5, 9))


def engine_of(loaded: Loaded) -> Engine:
    adapter: Any = loaded.adapters["text-generation"]
    engine: Engine = adapter._engine
    return engine


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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Loaded, Any]]:
    """The model of an architecture as the server loads it, and as transformers does."""
    from transformers import AutoModelForCausalLM

    made: dict[str, tuple[Loaded, Any]] = {}

    def make(kind: str) -> tuple[Loaded, Any]:
        if kind not in made:
            folder = generation.decoder(tmp_path_factory.mktemp("model") / kind, kind=kind)
            made[kind] = load(folder, limits=Limits(max_new_tokens=200)), AutoModelForCausalLM.from_pretrained(folder)
        return made[kind]

    return make


@pytest.mark.parametrize("kind", ADMITTED)
def test_answers_that_come_and_go_are_those_of_generate_one_by_one(
    kind: str, model: Callable[[str], tuple[Loaded, Any]]
) -> None:
    loaded, reference = model(kind)
    engine = engine_of(loaded)
    assert (engine.mode, engine.reason) == ("continuous", "")
    prompts = [(prompt_of(length, seed), new) for seed, (length, new, _) in enumerate(REQUESTS)]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    outputs = arriving(items, *(step for _, _, step in REQUESTS))
    assert written(outputs) == [generated(reference, ids, new) for ids, new in prompts]


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Bloom", "OPT"])
def test_a_long_prompt_is_read_in_parts_while_others_write(
    kind: str, model: Callable[[str], tuple[Loaded, Any]]
) -> None:
    loaded, reference = model(kind)
    engine = engine_of(loaded)
    parts = ContinuousBatches(engine._answers, part=16)
    prompts = [(prompt_of(12, 1), 20), (prompt_of(100, 2), 8), (prompt_of(7, 3), 5)]
    items = [
        Item(forward=parts, length=len(ids), data=Prompt(ids, max_new_tokens=new), room=new) for ids, new in prompts
    ]
    lengths: list[tuple[int, int]] = []
    hook = loaded.model.register_forward_pre_hook(
        lambda _module, _args, given: lengths.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    outputs = arriving(items, 0, 2, 2)
    hook.remove()
    assert written(outputs) == [generated(reference, ids, new) for ids, new in prompts]
    assert [length for _, length in lengths if length > 1] == [12, 16, 7, *[16] * 5, 4]
    first = lengths.index((1, 16))
    assert (1, 1) in lengths[first : first + 2], "the answer that ran stood still while a long prompt was read"


def test_answers_longer_than_the_cache_was_made_for(model: Callable[[str], tuple[Loaded, Any]]) -> None:
    loaded, reference = model("Llama")
    engine = engine_of(loaded)
    prompts = [(prompt_of(3, 1), 150), (prompt_of(90, 2), 100), (prompt_of(10, 3), 80)]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    assert written(arriving(items, 0, 70, 75)) == [generated(reference, ids, new) for ids, new in prompts]


def test_a_decoder_that_counts_positions_from_the_batchs_first_column_is_refused(
    model: Callable[[str], tuple[Loaded, Any]],
) -> None:
    loaded, reference = model("Bart")
    engine = engine_of(loaded)
    assert engine.mode == "sequential"
    assert "in a running batch its log probabilities move by" in engine.reason
    prompts = [(prompt_of(length, seed), 6) for seed, length in enumerate((5, 17, 9))]
    expected = [generated(reference, ids, new) for ids, new in prompts]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    assert not isinstance(items[0].forward, Continuous)
    assert written(run_batch(items)) == expected
    # Were it admitted, its answers would be others.
    admitted = ContinuousBatches(engine._answers)
    items = [Item(forward=admitted, length=len(ids), data=Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    assert written(admitted(items)) != expected


def test_positions_that_depend_on_the_longest_row_are_refused(tmp_path: Path) -> None:
    engine = engine_of(load(generation.decoder(tmp_path / "model", rope_parameters=DYNAMIC)))
    assert (engine.mode, engine.reason) == (
        "sequential",
        "its rotary positions are scaled by the longest row of a batch",
    )


def test_a_model_that_keeps_states_instead_of_keys_and_values_has_static_batches(
    model: Callable[[str], tuple[Loaded, Any]],
) -> None:
    loaded, reference = model("Mamba")
    engine = engine_of(loaded)
    assert (engine.mode, engine.reason) == ("static", "MambaForCausalLM takes no past_key_values")
    prompts = [(prompt_of(length, seed), 6) for seed, length in enumerate((5, 17, 9))]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    assert written(run_batch(items)) == [generated(reference, ids, new) for ids, new in prompts]
