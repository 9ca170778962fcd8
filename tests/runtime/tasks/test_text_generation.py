"""text-generation against transformers' generate and pipeline, for several architectures; sampling, stops, streams."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Limits, Listener, Loaded
from slipway_runtime.tasks.generated import Generated, Token
from slipway_runtime.tasks.parameters import convert

from tests.support.asking import ask, load
from tests.support.tiny import generation

KINDS = ("Llama", "Qwen2", "Mistral", "GPT2", "Bloom", "Mamba")  # Mistral's window is 8 tokens
TEXTS = ["the film was great", "a cat", "é of the cat of the film was a name of the great cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generation.decoder(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load(folder, limits=Limits(max_new_tokens=64))


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return loaded_by_transformers(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def loaded_by_transformers(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    return model.eval()


def one(model: Loaded, text: str, **parameters: Any) -> Generated:
    answer: Generated = ask(model, text, **parameters)[0][0]
    return answer


def ids_of(answer: Generated) -> list[int]:
    return [token.id for token in answer.tokens]


def streamed(model: Loaded, inputs: Any, gone_after: int = 1000, **parameters: Any) -> tuple[list[Token], Generated]:
    """The tokens of one answer as they come, and the whole. The caller goes after so many."""
    adapter = model.adapters[model.task]
    tokens: list[Token] = []

    def emit(token: Token) -> None:
        tokens.append(token)
        listener.gone = len(tokens) >= gone_after

    listener = Listener(emit)
    call = adapter.parse(inputs, convert(parameters, adapter.parameters))
    outputs = run_batch([replace(item, listener=listener) for item in adapter.preprocess(call)])
    return tokens, adapter.postprocess(call, outputs)[0][0]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_generate_alone_and_in_a_batch(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = generation.decoder(tmp_path / "model", kind=kind)
    loaded, reference = load(folder), loaded_by_transformers(folder)
    tok = AutoTokenizer.from_pretrained(folder)
    batch = ask(loaded, TEXTS, max_new_tokens=16)
    for text, answers in zip(TEXTS, batch, strict=True):
        encoded = tok(text, return_tensors="pt")
        expected = reference.generate(**encoded, do_sample=False, max_new_tokens=16, pad_token_id=0)
        new = expected[0, encoded["input_ids"].shape[1] :].tolist()
        assert ids_of(answers[0]) == new
        assert ids_of(one(loaded, text, max_new_tokens=16)) == new


def test_texts_are_those_of_the_pipeline(folder: Path, model: Loaded) -> None:
    from transformers import pipeline

    write = pipeline("text-generation", model=str(folder))
    for text in TEXTS:
        expected = write(text, max_new_tokens=20, do_sample=False)[0]["generated_text"]
        answer = one(model, text, max_new_tokens=20)
        assert (answer.prompt + answer.text).rstrip("\ufffd") == expected.rstrip("\ufffd")


def test_a_tokenizer_that_begins_texts_with_a_token_of_its_own_does_so(tmp_path: Path) -> None:
    loaded = load(generation.decoder(tmp_path / "model", bos=True))
    assert one(loaded, "a cat", max_new_tokens=1).prompt_tokens == 3


def test_logprobs_are_the_models_own(model: Loaded, reference: Any, tokenizer: Any) -> None:
    answer = one(
        model, "the film was", max_new_tokens=6, top_n_tokens=3, decoder_input_details=True, temperature=0.7, seed=1
    )
    prompt = tokenizer("the film was")["input_ids"]
    with torch.inference_mode():
        logprobs = reference(torch.tensor([prompt + ids_of(answer)])).logits[0].float().log_softmax(-1)
    for place, token in enumerate(answer.tokens, start=len(prompt) - 1):
        assert token.logprob == pytest.approx(float(logprobs[place, token.id]), abs=1e-4)
        best = logprobs[place].topk(3)
        assert [top.id for top in token.top] == best.indices.tolist()
        assert [top.logprob for top in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert [token.id for token in answer.prefill] == prompt
    assert math.isnan(answer.prefill[0].logprob)
    assert "".join(token.text for token in answer.prefill) == "the film was"
    rest = [float(logprobs[place, token]) for place, token in enumerate(prompt[1:])]
    assert [token.logprob for token in answer.prefill[1:]] == pytest.approx(rest, abs=1e-4)


def test_the_same_seed_writes_the_same_whatever_runs_beside_it(model: Loaded) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 12, "do_sample": True, "temperature": 1.5, "top_p": 0.95}
    alone = one(model, "a cat", seed=7, **settings)
    assert ids_of(ask(model, ["the film was great", "a cat"], seed=7, **settings)[1][0]) == ids_of(alone)
    assert ids_of(one(model, "a cat", seed=8, **settings)) != ids_of(alone)
    assert alone.seed == 7
    assert one(model, "a cat", max_new_tokens=2).seed is None


def test_one_requests_settings_are_never_anothers(model: Loaded) -> None:
    adapter = model.adapters["text-generation"]
    requests: list[tuple[str, dict[str, Any]]] = [
        ("a cat", {"max_new_tokens": 9}),
        ("the film", {"max_new_tokens": 5, "do_sample": True, "seed": 3, "temperature": 2.0}),
        ("the", {"max_new_tokens": 12, "repetition_penalty": 1.7, "stop": ["a"]}),
        ("great", {"max_new_tokens": 3, "top_k": 1, "logit_bias": {"70": 100}}),
    ]
    items = []
    for text, parameters in requests:
        items += adapter.preprocess(adapter.parse(text, convert(parameters, adapter.parameters)))
    for (text, parameters), output in zip(requests, run_batch(items), strict=True):
        alone = one(model, text, **parameters)
        assert (output.text, ids_of(output), output.finish_reason) == (alone.text, ids_of(alone), alone.finish_reason)


@pytest.mark.parametrize("cut", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_sampling_from_the_likeliest_alone_is_greedy(model: Loaded, cut: dict[str, Any]) -> None:
    greedy = one(model, "the film", max_new_tokens=8)
    assert ids_of(one(model, "the film", max_new_tokens=8, seed=1, **cut)) == ids_of(greedy)


def test_repetition_penalty_is_that_of_generate(model: Loaded, reference: Any, tokenizer: Any) -> None:
    encoded = tokenizer("a cat", return_tensors="pt")
    expected = reference.generate(
        **encoded, do_sample=False, max_new_tokens=20, repetition_penalty=1.3, pad_token_id=0
    )[0, 2:]
    assert ids_of(one(model, "a cat", max_new_tokens=20, repetition_penalty=1.3)) == expected.tolist()


def test_frequency_and_presence_penalties_and_biases_move_the_choice(model: Loaded) -> None:
    held = {"max_new_tokens": 6, "logit_bias": {"70": 50.0}}
    assert ids_of(one(model, "the", **held)) == [70] * 6
    assert len(set(ids_of(one(model, "the", **held, frequency_penalty=2.0)))) == 1  # 2 a time do not make up for 50
    pushed = ids_of(one(model, "the", max_new_tokens=30, frequency_penalty=2.0, presence_penalty=2.0))
    free = ids_of(one(model, "the", max_new_tokens=30))
    assert len(set(pushed)) > len(set(free))


def test_an_end_may_be_put_off(model: Loaded) -> None:
    ended = one(model, "a cat", logit_bias={"2": 100})
    assert (ended.finish_reason, ended.text, len(ended.tokens)) == ("eos_token", "", 1)
    assert (ended.tokens[0].special, ended.tokens[0].text, ended.tokens[0].piece) == (True, "", "</s>")
    later = one(model, "a cat", logit_bias={"2": 100}, min_new_tokens=4)
    assert len(later.tokens) == 5


def test_a_stop_string_ends_the_answer_and_is_not_in_it(model: Loaded) -> None:
    whole = one(model, "the film was great", max_new_tokens=40)
    assert whole.finish_reason == "length"
    stop = whole.text[9:12]
    place = whole.text.index(stop)
    for name in ("stop", "stop_sequences"):
        answer = one(model, "the film was great", max_new_tokens=40, **{name: ["never", stop]})
        assert answer.text == whole.text[:place]
        assert answer.finish_reason == "stop_sequence"
        assert len(answer.tokens) < len(whole.tokens)


@pytest.mark.parametrize("stop", [[], ["e\x18", "\x19"], ["zzzz"]])
def test_a_streams_parts_are_the_text(model: Loaded, stop: list[str]) -> None:
    for text in TEXTS:
        tokens, whole = streamed(model, text, max_new_tokens=40, stop=stop)
        assert "".join(token.text for token in tokens) == whole.text
        assert tuple(tokens) == whole.tokens
        assert [token.last for token in tokens] == [False] * (len(tokens) - 1) + [True]
        assert whole == one(model, text, max_new_tokens=40, stop=stop)


def test_a_caller_who_has_gone_ends_the_generation(model: Loaded) -> None:
    tokens, whole = streamed(model, "the film was great", gone_after=3, max_new_tokens=40)
    assert len(tokens) == len(whole.tokens) == 3


def test_several_answers_have_seeds_of_their_own(model: Loaded) -> None:
    answers = ask(model, ["a cat", "the"], n=3, seed=5, do_sample=True, temperature=2.0, max_new_tokens=8)
    assert [[answer.seed for answer in several] for several in answers] == [[5, 6, 7]] * 2
    assert len({answer.text for answer in answers[0]}) == 3
    assert answers[0][1].text == one(model, "a cat", seed=6, do_sample=True, temperature=2.0, max_new_tokens=8).text


def test_the_best_of_several_are_the_likeliest(model: Loaded) -> None:
    asked: dict[str, Any] = {"do_sample": True, "temperature": 2.0, "seed": 1, "max_new_tokens": 6}
    every = ask(model, "a cat", best_of=4, **asked)[0]
    assert len(every) == 4
    best = ask(model, "a cat", best_of=4, n=2, **asked)[0]
    mean: Callable[[Generated], float] = lambda a: sum(t.logprob for t in a.tokens) / len(a.tokens)  # noqa: E731
    assert [answer.text for answer in best] == [a.text for a in sorted(every, key=mean, reverse=True)[:2]]


def test_truncate_keeps_the_last_tokens(model: Loaded, tokenizer: Any) -> None:
    cut = one(model, "the film was a cat", truncate=2, max_new_tokens=8)
    assert cut.prompt_tokens == 2
    tail = tokenizer("the film was a cat")["input_ids"][-2:]
    assert ids_of(cut) == ids_of(one(model, tokenizer.decode(tail), max_new_tokens=8))


def test_a_prompt_longer_than_the_model_is_refused_with_both_numbers(model: Loaded) -> None:
    with pytest.raises(InvalidInput, match=r"inputs: has 300 tokens, the model takes 255 and one .*truncate"):
        ask(model, "z" * 300)
    assert one(model, "z" * 300, truncate=255, max_new_tokens=60).finish_reason in ("length", "eos_token")


def test_an_answer_ends_with_the_models_context(model: Loaded) -> None:
    answer = one(model, "z" * 250, max_new_tokens=50, logit_bias={"70": 100})
    assert (len(answer.tokens), answer.finish_reason) == (6, "length")


def test_short_and_long_prompts_of_one_batch_stay_within_the_models_positions(tmp_path: Path) -> None:
    adapter = load(generation.decoder(tmp_path / "model", kind="GPT2")).adapters["text-generation"]
    parameters = convert({"max_new_tokens": 30, "logit_bias": {"70": 100}}, adapter.parameters)
    items = adapter.preprocess(adapter.parse(["z" * 250, *(["a cat"] * 40)], parameters))  # more than run at once
    outputs = items[0].forward(items)
    assert [len(output.tokens) for output in outputs] == [6] + [30] * 40


def test_a_server_may_allow_less_than_the_model(folder: Path) -> None:
    loaded = load(folder, limits=Limits(max_input_tokens=8, max_new_tokens=20))
    assert loaded.max_input_tokens == 8
    with pytest.raises(InvalidInput, match="has 9 tokens, the model takes 8"):
        ask(loaded, "z" * 9)
    with pytest.raises(InvalidInput, match="max_new_tokens: is 21, at most 20"):
        ask(loaded, "z", max_new_tokens=21)
    assert len(one(loaded, "z", logit_bias={"70": 100}).tokens) == 20


@pytest.mark.parametrize(
    ("parameters", "field", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens", ">= 1"),
        ({"temperature": 0}, "temperature", "> 1e-09"),
        ({"top_p": 1.5}, "top_p", "<= 1"),
        ({"top_k": 0}, "top_k", ">= 1"),
        ({"frequency_penalty": 3}, "frequency_penalty", "<= 2"),
        ({"repetition_penalty": 0.0}, "repetition_penalty", "> 1e-09"),
        ({"watermark": True}, "watermark", "not done here"),
        ({"stop": ["a"], "stop_sequences": ["b"]}, "stop_sequences", "beside stop"),
        ({"stop": [""]}, r"stop\[0\]", "length >= 1"),
        ({"stop": ["a"] * 17}, "stop", "length <= 16"),
        ({"best_of": 3}, "best_of", "needs sampling"),
        ({"best_of": 2, "n": 3, "do_sample": True}, "best_of", "less than n"),
        ({"n": 17}, "n", "<= 16"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens", "more than max_new_tokens"),
        ({"logit_bias": {"cat": 1}}, "logit_bias.cat", "no token id"),
        ({"logit_bias": {"99999": 1}}, "logit_bias.99999", "0 to "),
        ({"logit_bias": {"1": 101}}, "logit_bias", "<= 100"),
        ({"top_n_tokens": 21}, "top_n_tokens", "<= 20"),
        ({"max_tokens": 3}, "max_tokens", "unknown parameter"),
        ({"details": "yes"}, "details", "Expected bool"),
        ({"truncate": 0}, "truncate", ">= 1"),
    ],
)
def test_wrong_parameters_are_named(model: Loaded, parameters: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^parameters\.{field}.*: .*{says}"):
        ask(model, "a cat", **parameters)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ("", "inputs: is empty"),
        ([], "inputs: is empty"),
        (["a", 3], r"inputs\[1\]: must be a string, got a number"),
        (7, "inputs: must be a string or a list of strings, got a number"),
        ({"text": "a"}, "inputs: must be a string, a list of strings, or a chat with messages"),
    ],
)
def test_wrong_inputs_are_named(model: Loaded, inputs: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ask(model, inputs)
