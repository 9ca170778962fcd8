"""Prompts that begin as earlier ones did: only the rest is read, the answers are those of `generate`, and what is kept
stays within its bound."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slipway_runtime.artifacts.folder import open_adapter
from slipway_runtime.errors import InferenceFailed
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Item, Limits, Loaded
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.engine import Engine
from slipway_runtime.tasks.generation.prefixes import BLOCK, Prefixes
from slipway_runtime.tasks.generation.sampling import Sampling
from slipway_runtime.tasks.variants import attach

from tests.support import adapters
from tests.support.asking import load
from tests.support.feeds import Arrivals, arriving
from tests.support.tiny import generation
from tests.support.writing import Models, cached, engine_of, generated, item_of, prompt_of, written

SYSTEM = prompt_of(40, 77)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return generation.decoder(tmp_path / "llama")


def kept(engine: Engine) -> Prefixes:
    found: Any = engine._forward
    assert isinstance(found.prefixes, Prefixes)
    return found.prefixes


@contextmanager
def read(loaded: Loaded) -> Iterator[list[tuple[int, int]]]:
    """[rows, tokens] of each forward that reads prompts."""
    shapes: list[tuple[int, int]] = []

    def hook(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        rows, tokens = given["input_ids"].shape
        if tokens > 1:
            shapes.append((rows, tokens))

    handle = loaded.model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield shapes
    finally:
        handle.remove()


def test_what_was_found_is_not_read(model: Models) -> None:
    loaded, _ = model("Llama")
    engine = engine_of(loaded)
    ids = prompt_of(100, 5)
    with read(loaded) as shapes:
        outputs = [run_batch([item_of(engine, [*ids[:n], *prompt_of(3, n)], new=1)])[0] for n in (100, 100, 70)]
    assert cached(outputs) == [0, 96, 64]
    assert shapes == [(1, 103), (1, 7), (1, 9)]


def test_the_last_token_of_a_prompt_is_always_read(model: Models) -> None:
    loaded, reference = model("Llama")
    engine = engine_of(loaded)
    ids = prompt_of(4 * BLOCK, 6)
    outputs = [run_batch([item_of(engine, ids)])[0] for _ in range(2)]
    assert cached(outputs) == [0, 3 * BLOCK]
    assert written(outputs) == [generated(reference, ids, 6)] * 2


def test_several_answers_to_one_prompt_read_it_once(model: Models) -> None:
    loaded, reference = model("Llama")
    engine = engine_of(loaded)
    ids = prompt_of(90, 7)
    with read(loaded) as shapes:
        outputs = arriving([item_of(engine, ids) for _ in range(4)], 0, 0, 0, 0)
    assert shapes == [(1, 90), (3, 10)]
    assert written(outputs) == [generated(reference, ids, 6)] * 4


def test_a_long_rest_is_read_in_parts_after_what_was_found(model: Models) -> None:
    loaded, reference = model("Mistral")
    engine = engine_of(loaded)
    parts = ContinuousBatches(engine._answers, part=16, prefixes=Prefixes(1000))
    prompts = [[*SYSTEM, 9], prompt_of(5, 8), [*SYSTEM, *prompt_of(50, 9)]]
    with read(loaded) as shapes:
        outputs = arriving([replace(item_of(engine, ids, new=12), forward=parts) for ids in prompts], 0, 0, 2)
    assert written(outputs) == [generated(reference, ids, 12) for ids in prompts]
    assert cached(outputs) == [0, 0, 32]
    assert [tokens for rows, tokens in shapes if rows == 1][-4:] == [16, 16, 16, 10]


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 120), marks=pytest.mark.full)], ids=["some", "many"])
def test_whatever_comes_when_and_goes_on_from_what(seeds: range, model: Models) -> None:
    for seed in seeds:
        draw = random.Random(seed)  # noqa: S311 - to be drawn again
        loaded, reference = model(draw.choice(("Llama", "Mistral", "Bloom", "OPT", "Gemma3")))
        way = ContinuousBatches(
            engine_of(loaded)._answers,
            max_rows=draw.choice((2, 5, 32)),
            part=draw.choice((None, 4, 16)),
            prefixes=Prefixes(draw.choice((48, 160, 2000)), block=draw.choice((1, 4, 16))),
        )
        prompts = [prompt_of(draw.randrange(20, 60), draw.randrange(10_000))]
        for _ in range(draw.randrange(3, 16)):
            earlier = draw.choice(prompts)
            same = draw.choice((len(earlier), draw.randrange(len(earlier))))
            prompts.append([*earlier[:same], *prompt_of(draw.randrange(1, 20), draw.randrange(10_000))][:120])
        new = [draw.randrange(1, 20) for _ in prompts]
        items = [replace(item_of(engine_of(loaded), *one), forward=way) for one in zip(prompts, new, strict=True)]
        outputs = arriving(items, 0, *(draw.randrange(40) for _ in prompts[1:]))
        expected = [generated(reference, *one) for one in zip(prompts, new, strict=True)]
        assert written(outputs) == expected, f"seed {seed}"


@pytest.mark.parametrize("settings", [{"seed": 3}, {"seed": 4, "temperature": 2.0, "top_k": 20}])
def test_draws_depend_on_the_seed_whatever_was_kept(model: Models, settings: dict[str, Any]) -> None:
    loaded, _ = model("Llama")
    engine = engine_of(loaded)
    sampling = Sampling(sample=True, repetition_penalty=1.3, **settings)
    ids = prompt_of(60, 10 + settings["seed"])
    outputs = [run_batch([item_of(engine, ids, 20, sampling=sampling)])[0] for _ in range(2)]
    assert cached(outputs) == [0, 48]
    first, again = written(outputs)
    assert first == again


def test_under_many_prompts_the_bound_is_kept_and_what_is_used_stays(folder: Path) -> None:
    engine = engine_of(load(folder, limits=Limits(max_prefix_tokens=160)))
    often, once = prompt_of(50, 1), prompt_of(50, 2)
    assert cached([run_batch([item_of(engine, ids)])[0] for ids in (often, once)]) == [0, 0]
    for seed in range(20):
        run_batch([item_of(engine, prompt_of(30 + seed, 100 + seed))])
        assert cached(run_batch([item_of(engine, often)])) == [48], "what is used most was forgotten"
        assert kept(engine).size <= 160
    assert cached(run_batch([item_of(engine, once)])) == [0]
    longer = prompt_of(230, 3)
    assert cached([run_batch([item_of(engine, longer)])[0] for _ in range(2)]) == [0, 160]
    assert kept(engine).size == 160


def test_a_beginning_outlasts_what_goes_on_from_it() -> None:
    prefixes = Prefixes(10 * BLOCK)
    layers = [(torch.arange(10.0 * BLOCK).reshape(1, 1, -1, 1),) * 2]
    made = Item(forward=run_batch, length=0, data=None)

    def keep(ids: list[int]) -> list[bytes]:
        chain = prefixes.chain(made, ids)
        prefixes.keep(chain, layers, 0, 0)
        return chain

    begun = keep(SYSTEM[:32])
    longer = keep([*SYSTEM[:32], *prompt_of(64, 1)])
    keep(prompt_of(48, 2))
    assert prefixes.size == 9 * BLOCK
    keep(prompt_of(48, 3))
    assert (prefixes.found(longer, 1000), prefixes.found(begun, 1000)) == (32, 32)
    [part] = prefixes.parts(longer, 20)
    assert (part.tokens, part.layers[0][0].shape) == (20, (1, 32, 1))
    prefixes.bound(0)
    assert (prefixes.size, prefixes.found(begun, 1000)) == (0, 0)
    keep(SYSTEM)
    assert prefixes.size == 0
    prefixes.bound(None)
    keep(SYSTEM)
    assert prefixes.size == 2 * BLOCK


def test_rows_take_the_memory_before_what_is_kept_does(folder: Path) -> None:
    engine = engine_of(load(folder, limits=Limits(max_prefix_tokens=10_000, max_new_tokens=100)))
    answers = engine._answers
    answers.cache_bytes = 400 * answers.bytes_per_token
    for seed in range(4):
        run_batch([item_of(engine, prompt_of(100, seed))])
    assert 0 < kept(engine).size <= 400
    sizes: list[int] = []

    class Watched(Arrivals):
        def more(self, fits: Callable[[Item], bool]) -> list[Item]:
            sizes.append(kept(engine).size)
            return super().more(fits)

    items = [item_of(engine, prompt_of(90, 10 + n), new=8) for n in range(4)]
    feed = Watched({0: items})
    feed.run(items)
    assert feed.most_inside == 4, "what is kept held a row up"
    assert sizes[2] <= 400 - 4 * 98


def test_callers_share_with_nobody(model: Models) -> None:
    loaded, _ = model("Llama")
    engine = engine_of(loaded)
    ids = prompt_of(60, 20)
    asked = [run_batch([item_of(engine, ids, caller=caller)])[0] for caller in ("a", "b", "a", "b", "")]
    assert cached(asked) == [0, 0, 48, 48, 0]


def test_adapters_share_with_none_other(tmp_path: Path) -> None:
    base = generation.decoder(tmp_path / "base")
    trained: dict[str, dict[str, Any]] = {"one": {"seed": 1}, "two": {"seed": 2}}
    references: dict[str, Any] = {
        name: adapters.trained(
            base, tmp_path / name, auto_class="AutoModelForCausalLM", task_type="CAUSAL_LM",
            target_modules=["q_proj", "v_proj"], **how,
        )
        for name, how in trained.items()
    }  # fmt: skip
    plain = load(base)
    engine = engine_of(plain)
    loaded = attach(plain, [open_adapter(name, str(tmp_path / name)) for name in trained])
    assert loaded.variants is not None
    ids = prompt_of(60, 21)
    found: dict[str, list[int]] = {}
    for name in ("one", "two", "", "one", "two", ""):
        made = item_of(engine, ids)
        [output] = run_batch([replace(made, forward=loaded.variants.forward(name, made.forward))])
        assert output.cached_tokens == (48 if name in found else 0)
        assert written([output]) == [found.setdefault(name, written([output])[0])]
        if name:
            assert written([output]) == [generated(references[name], ids, 6)]
    assert len({str(one) for one in found.values()}) == 3


def test_what_is_no_number_is_not_kept(folder: Path) -> None:
    loaded = load(folder)
    engine = engine_of(loaded)
    loaded.model.get_input_embeddings().weight.data[200] = float("nan")
    good = [one if one != 200 else 201 for one in prompt_of(40, 30)]
    bad = [*good[:20], 200, *good[20:]]
    asked = [run_batch([item_of(engine, ids)])[0] for ids in (bad, good, bad, good)]
    assert [isinstance(one, InferenceFailed) for one in asked] == [True, False, True, False]
    assert cached(asked[1::2]) == [0, 32]
    assert written(asked[1:2]) == written(asked[3:])
    chain = kept(engine).chain(item_of(engine, bad), bad)
    assert kept(engine).found(chain, len(bad)) == 16, "more than what the good one begins with too"


def test_a_forward_that_fails_on_what_was_found_fails_alone(model: Models) -> None:
    loaded, reference = model("Llama")
    engine = engine_of(loaded)
    ids = prompt_of(60, 40)
    run_batch([item_of(engine, ids)])

    def fail(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].shape[1] > 1 and (given["input_ids"] == 249).any():
            raise RuntimeError("a kernel that does not like this")

    handle = loaded.model.register_forward_pre_hook(fail, with_kwargs=True)
    prompts = [[*ids, 8, 9], [*ids, 249, 9], [*ids, 10, 11, 12]]
    outputs = arriving([item_of(engine, one) for one in prompts], 0, 0, 0)
    handle.remove()
    assert isinstance(outputs[1], InferenceFailed)
    assert written(outputs[::2]) == [generated(reference, one, 6) for one in prompts[::2]]
    assert cached(outputs[::2]) == [48, 48]


def test_without_memory_for_a_copy_answers_are_written_all_the_same(
    model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, reference = model("Llama")
    engine = engine_of(loaded)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Prefixes, "_make_room", full)
    prompts = [prompt_of(60, 45), prompt_of(33, 46)]
    outputs = arriving([item_of(engine, ids) for ids in prompts], 0, 2)
    assert written(outputs) == [generated(reference, ids, 6) for ids in prompts]
    monkeypatch.undo()
    assert cached([run_batch([item_of(engine, prompts[0])])[0] for _ in range(2)]) == [0, 48]


def test_a_model_that_goes_on_wrongly_from_what_was_read_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    right: Any = LlamaForCausalLM.forward

    @functools.wraps(right)
    def forward(self: Any, input_ids: Any, position_ids: Any = None, past_key_values: Any = None, **more: Any) -> Any:
        """Several prompts after what is there: as if nothing was."""
        if past_key_values is not None and past_key_values.get_seq_length() and min(input_ids.shape) > 1:
            position_ids = position_ids - position_ids[:, :1]
        return right(self, input_ids=input_ids, position_ids=position_ids, past_key_values=past_key_values, **more)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    engine = engine_of(load(folder))
    assert (engine.mode, engine.reuses) == ("continuous", False)
    assert "in a prefix-sharing batch its log probabilities move by" in engine.unshared
    ids = prompt_of(60, 50)
    assert cached([run_batch([item_of(engine, ids)])[0] for _ in range(2)]) == [None, None]


@pytest.mark.parametrize("kind", ["Mamba", "Bart"])
def test_what_runs_in_no_continuous_batch_reuses_nothing(kind: str, model: Models) -> None:
    loaded, _ = model(kind)
    engine = engine_of(loaded)
    assert not engine.reuses
    assert cached(run_batch([item_of(engine, prompt_of(40, 60))])) == [None]


def test_without_room_for_them_prefixes_are_off(folder: Path) -> None:
    engine = engine_of(load(folder, limits=Limits(max_prefix_tokens=0)))
    assert (engine.mode, engine.reuses, engine.unshared) == ("continuous", False, "SLIPWAY_MAX_PREFIX_TOKENS is 0")
