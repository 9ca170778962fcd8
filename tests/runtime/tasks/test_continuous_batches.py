"""Answers in running batches are those of `generate` one by one, for every architecture that the gate admits; the gate
refuses those that are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Continuous, Item
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.prefixes import BLOCK
from slipway_runtime.tasks.generation.prompt import Prompt

from tests.support.asking import load
from tests.support.feeds import arriving
from tests.support.tiny import generation
from tests.support.writing import ADMITTED, Models, cached, engine_of, generated, item_of, prompt_of, written

DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
SYSTEM = prompt_of(40, 77)
# (tokens of the prompt, new tokens, the step before which it arrives)
REQUESTS = ((5, 9, 0), (17, 4, 0), (2, 12, 1), (30, 6, 2), (9, 1, 3), (12, 7, 3), (1, 10, 5), (23, 5, 9))


def blocks(tokens: int) -> int:
    """What is found of so many tokens, all there."""
    return tokens // BLOCK * BLOCK


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("kind", ADMITTED)
def test_answers_that_come_and_go_are_those_of_generate_one_by_one(kind: str, model: Models) -> None:
    loaded, reference = model(kind)
    engine = engine_of(loaded)
    assert (engine.mode, engine.reason) == ("continuous", "")
    prompts = [(prompt_of(length, seed), new) for seed, (length, new, _) in enumerate(REQUESTS)]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    outputs = arriving(items, *(step for _, _, step in REQUESTS))
    assert written(outputs) == [generated(reference, ids, new) for ids, new in prompts]


@pytest.mark.parametrize("kind", ADMITTED)
def test_prompts_that_begin_the_same_are_answered_as_generate_does(kind: str, model: Models) -> None:
    loaded, reference = model(kind)
    engine = engine_of(loaded)
    assert engine.reuses
    first = [*SYSTEM, *prompt_of(5, 1)]
    answer = generated(reference, first, 30)
    # A chat that grows; others with the same beginning, of several lengths, together and while some still write.
    chat = [*first, *answer, *prompt_of(4, 2)]
    prompts = [
        first,
        chat,
        *([*SYSTEM[:n], *prompt_of(length, n)] for n, length in ((40, 7), (40, 3), (33, 9), (20, 2))),
    ]
    prompts.append(prompt_of(9, 3))
    new = [30, 8, 9, 5, 12, 7, 6]
    outputs = arriving([item_of(engine, *asked) for asked in zip(prompts, new, strict=True)], 0, 40, 40, 41, 40, 44, 40)
    expected = [generated(reference, ids, count) for ids, count in zip(prompts, new, strict=True)]
    assert written(outputs) == expected
    # Read together, a prompt may be read from a little before the end of what was found.
    most = [0, blocks(len(first) + 29), blocks(40), blocks(40), blocks(33), blocks(20), 0]
    assert all((found or 0) <= limit for found, limit in zip(cached(outputs), most, strict=True))
    assert sum(found or 0 for found in cached(outputs)) > 0.8 * sum(most)
    alone = ContinuousBatches(engine._answers)
    without = arriving([replace(item_of(engine, *a), forward=alone) for a in zip(prompts, new, strict=True)], *[0] * 7)
    assert written(without) == expected
    assert cached(without) == [None] * 7


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Bloom", "OPT"])
def test_a_long_prompt_is_read_in_parts_while_others_write(kind: str, model: Models) -> None:
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


def test_answers_longer_than_the_cache_was_made_for(model: Models) -> None:
    loaded, reference = model("Llama")
    engine = engine_of(loaded)
    prompts = [(prompt_of(3, 1), 150), (prompt_of(90, 2), 100), (prompt_of(10, 3), 80)]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    assert written(arriving(items, 0, 70, 75)) == [generated(reference, ids, new) for ids, new in prompts]


def test_a_decoder_that_counts_positions_from_the_batchs_first_column_is_refused(
    model: Models,
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
    model: Models,
) -> None:
    loaded, reference = model("Mamba")
    engine = engine_of(loaded)
    assert (engine.mode, engine.reason) == ("static", "MambaForCausalLM takes no past_key_values")
    prompts = [(prompt_of(length, seed), 6) for seed, length in enumerate((5, 17, 9))]
    items = [engine.item(Prompt(ids, max_new_tokens=new)) for ids, new in prompts]
    assert written(run_batch(items)) == [generated(reference, ids, new) for ids, new in prompts]
