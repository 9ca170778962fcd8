"""What goes wrong in a running batch stays with whom it goes wrong for; settings and memory of rows are their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slipway_runtime.artifacts.folder import open_adapter
from slipway_runtime.errors import InferenceFailed, InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Continuous, Item, Limits, Listener, Loaded
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.sequence import likeliest
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.variants import attach

from tests.support import adapters
from tests.support.asking import ask, load
from tests.support.feeds import Arrivals, arriving
from tests.support.tiny import generation

TEXTS = ("the film was great", "a cat", "é of the cat of the film was a name of the great cat", "the", "is a name")
POISON = "%"
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generation.decoder(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load(folder, limits=Limits(max_new_tokens=64))


def item(loaded: Loaded, text: str, **parameters: Any) -> Item:
    adapter = loaded.adapters["text-generation"]
    [made] = adapter.preprocess(adapter.parse(text, convert({"max_new_tokens": 12} | parameters, adapter.parameters)))
    return made


def alone(loaded: Loaded, text: str, **parameters: Any) -> Generated:
    answer: Generated = ask(loaded, text, **({"max_new_tokens": 12} | parameters))[0][0]
    return answer


@contextmanager
def watched(loaded: Loaded, before: Any) -> Iterator[list[int]]:
    """Rows of each forward; `before` sees its ids and may raise."""
    rows: list[int] = []

    def hook(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        rows.append(given["input_ids"].shape[0])
        before(given["input_ids"])

    handle = loaded.model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def nothing(_ids: Any) -> None:
    """Watch only."""


def test_a_prompt_that_the_model_fails_on_fails_alone(model: Loaded) -> None:
    poison = model.tokenizer.ids(POISON)[0]

    def fail(ids: torch.Tensor) -> None:
        if (ids == poison).any():
            raise RuntimeError("a kernel that does not like this")

    items = [item(model, text) for text in (*TEXTS, POISON, f"a cat{POISON}")]
    with watched(model, fail):
        outputs = arriving(items, 0, 0, 1, 1, 3, 1, 2)
    assert [isinstance(output, InferenceFailed) for output in outputs] == [False] * 5 + [True] * 2
    assert "RuntimeError" in str(outputs[-1])
    assert [output.text for output in outputs[:5]] == [alone(model, text).text for text in TEXTS]


def test_a_step_that_fails_for_one_answer_fails_for_no_other(model: Loaded) -> None:
    whole = alone(model, TEXTS[0], logit_bias={"70": 100})

    def fail(ids: torch.Tensor) -> None:
        if ids.shape[1] == 1 and (ids == 70).any():
            raise RuntimeError("a token that the model cannot take")

    assert {token.id for token in whole.tokens} == {70}
    others = [text for text in TEXTS[1:] if 70 not in [token.id for token in alone(model, text).tokens]]
    assert others
    items = [item(model, TEXTS[0], logit_bias={"70": 100}), *(item(model, text) for text in others)]
    with watched(model, fail):
        outputs = arriving(items, *([0] * len(items)))
    assert isinstance(outputs[0], InferenceFailed)
    assert [output.text for output in outputs[1:]] == [alone(model, text).text for text in others]


def test_steps_that_fail_together_but_not_alone_are_made_alone(model: Loaded) -> None:
    def fail(ids: torch.Tensor) -> None:
        if len(ids) > 1:
            raise RuntimeError("no memory for so many")

    items = [item(model, text) for text in TEXTS]
    with watched(model, fail):
        outputs = arriving(items, 0, 0, 1, 2, 4)
    assert [output.text for output in outputs] == [alone(model, text).text for text in TEXTS]


def test_output_that_is_no_number_fails_alone_and_leaves_nothing_behind(folder: Path) -> None:
    loaded = load(folder, limits=Limits(max_new_tokens=64))
    expected = [alone(loaded, text).text for text in TEXTS]
    loaded.model.get_input_embeddings().weight.data[loaded.tokenizer.ids(POISON)[0]] = float("nan")
    items = [item(loaded, text) for text in (f"{POISON} a cat of the great film", *TEXTS)]
    outputs = arriving(items, 0, 0, 1, 2, 3, 4)
    assert isinstance(outputs[0], InferenceFailed)
    assert "not a number" in str(outputs[0])
    assert [output.text for output in outputs[1:]] == expected
    # The token is chosen in the middle of an answer, so that its row's keys are no numbers.
    held = item(loaded, "the film", logit_bias={str(loaded.tokenizer.ids(POISON)[0]): 100})
    outputs = arriving([held, *items[1:]], 0, 0, 1, 2, 3, 4)
    assert isinstance(outputs[0], InferenceFailed)
    assert [output.text for output in outputs[1:]] == expected


def test_a_model_that_fails_for_all_ends_the_run(model: Loaded) -> None:
    def fail(_ids: Any) -> None:
        raise RuntimeError("the device is gone")

    with watched(model, fail), pytest.raises(RuntimeError, match="the device is gone"):
        arriving([item(model, "a cat")], 0)


def test_a_caller_who_goes_leaves_before_the_next_step(model: Loaded) -> None:
    heard: list[Any] = []

    def hear(token: Any) -> None:
        heard.append(token)
        leaver.gone = len(heard) == 3

    leaver = Listener(hear)
    leaving = replace(item(model, TEXTS[0]), listener=leaver)
    with watched(model, nothing) as rows:
        outputs = arriving([leaving, item(model, TEXTS[1])], 0, 0)
    assert rows == [2] * 3 + [1] * 9
    assert len(outputs[0].tokens) == 3
    assert outputs[1].text == alone(model, TEXTS[1]).text


def test_settings_of_all_sorts_share_a_batch_and_stay_each_rows_own(model: Loaded) -> None:
    drawn: dict[str, Any] = {"do_sample": True, "seed": 3, "temperature": 2.0, "top_p": 0.9, "max_new_tokens": 10}
    stop = alone(model, TEXTS[0], max_new_tokens=20).text[6:9]
    requests: list[tuple[str, dict[str, Any]]] = [
        (TEXTS[0], {"max_new_tokens": 20, "stop": [stop]}),
        (TEXTS[1], {"grammar": {"type": "json", "value": SCHEMA}, "max_new_tokens": 20}),
        (TEXTS[1], drawn),
        (TEXTS[2], {"repetition_penalty": 1.7, "frequency_penalty": 1.0}),
        (TEXTS[3], {"top_n_tokens": 4, "decoder_input_details": True}),
        (TEXTS[3], drawn | {"seed": 4}),
        (TEXTS[4], {}),
    ]
    items = [item(model, text, **parameters) for text, parameters in requests]
    with watched(model, nothing) as rows:
        outputs = arriving(items, 0, 0, 1, 1, 2, 3, 4)
    assert max(rows) >= 6
    for (text, parameters), output in zip(requests, outputs, strict=True):
        expected = alone(model, text, **parameters)
        assert [token.id for token in output.tokens] == [token.id for token in expected.tokens]
        assert (output.text, output.finish_reason) == (expected.text, expected.finish_reason)
    assert stop not in outputs[0].text
    assert outputs[0].finish_reason == "stop_sequence"
    assert json.loads(outputs[1].text).keys() == {"a"}
    assert len(outputs[4].prefill) == outputs[4].prompt_tokens
    assert all(len(token.top) == 4 for token in outputs[4].tokens)


def test_rows_have_no_more_memory_together_than_there_is(folder: Path) -> None:
    loaded = load(folder, limits=Limits(max_new_tokens=64))
    adapter: Any = loaded.adapters["text-generation"]
    answers = adapter._engine._answers
    items = [item(loaded, TEXTS[0], max_new_tokens=20) for _ in range(8)]
    answers.cache_bytes = 3 * (items[0].length + 20) * answers.bytes_per_token
    with watched(loaded, nothing) as rows:
        feed = Arrivals({0: items})
        outputs = feed.run(items)
    assert max(rows) == feed.most_inside == 3
    assert [output.text for output in outputs] == [alone(loaded, TEXTS[0], max_new_tokens=20).text] * 8


def test_what_can_never_have_room_is_refused_with_both_numbers(folder: Path) -> None:
    loaded = load(folder, limits=Limits(max_new_tokens=64))
    adapter: Any = loaded.adapters["text-generation"]
    answers = adapter._engine._answers
    answers.cache_bytes = 30 * answers.bytes_per_token
    with pytest.raises(InvalidInput, match=r"inputs: has 30 tokens, this server has memory for 30 .* its answer"):
        ask(loaded, "z" * 30)
    with pytest.raises(InvalidInput, match=r"max_new_tokens: is 21 after a prompt of 10 tokens, .* for 30 .* most 20"):
        ask(loaded, "z" * 10, max_new_tokens=21)
    assert len(alone(loaded, "z" * 10, max_new_tokens=20, logit_bias={"70": 100}).tokens) == 20
    assert len(ask(loaded, "z" * 10, logit_bias={"70": 100})[0][0].tokens) == 20  # where no number was asked for


def test_answers_with_an_adapter_run_on_too(folder: Path) -> None:
    adapters.trained(
        folder,
        folder.parent / "polite",
        auto_class="AutoModelForCausalLM",
        task_type="CAUSAL_LM",
        target_modules=["q_proj", "v_proj"],
    )
    loaded = attach(load(folder), [open_adapter("polite", str(folder.parent / "polite"))])
    variants = loaded.variants
    assert variants is not None
    texts: dict[str, list[str]] = {}
    for name in ("polite", ""):
        items = [item(loaded, text) for text in TEXTS]
        items = [replace(one, forward=variants.forward(name, one.forward)) for one in items]
        assert isinstance(items[0].forward, Continuous)
        texts[name] = [output.text for output in arriving(items, 0, 0, 1, 2, 3)]
        assert texts[name] == [run_batch([one])[0].text for one in items]
    assert texts["polite"] != texts[""]


@pytest.mark.parametrize("size", [100, 16_384, 30_522, 32_000])
def test_the_likeliest_are_those_of_argmax(size: int) -> None:
    logits = torch.randn(5, size, generator=torch.Generator().manual_seed(size))
    logits[1] = logits[1].round()  # equals
    logits[2, size - 1] = 100.0
    logits[3] = -float("inf")
    logits[3, 77] = 0.0
    assert likeliest(logits).tolist() == logits.argmax(-1).tolist()
