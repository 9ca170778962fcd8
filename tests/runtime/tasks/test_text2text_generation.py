"""text2text-generation against generate; what it shares with summarization and translation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Limits, Listener, Loaded
from slipway_runtime.tasks.generated import Token
from slipway_runtime.tasks.parameters import convert

from tests.support.asking import ask, load
from tests.support.tiny import generation

TEXTS = ["the film was great", "a cat", "é of the cat of the film was a name of the great cat"]
TASK = "text2text-generation"


@pytest.fixture(scope="module", params=["t5", "bart", "marian"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = getattr(generation, request.param)(tmp_path_factory.mktemp("model") / request.param)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load(folder, TASK, Limits(max_new_tokens=100))


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(generation.bart(tmp_path_factory.mktemp("model") / "bart"), limits=Limits(max_new_tokens=100))


class Reference:
    """transformers alone."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def __call__(self, text: str, **settings: Any) -> str:
        encoded = self.tokenizer(text, return_tensors="pt")
        ids = self.model.eval().generate(
            input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], **settings
        )
        written: str = self.tokenizer.decode(ids[0], skip_special_tokens=True)
        return written


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


SETTINGS: list[dict[str, Any]] = [
    {"max_new_tokens": 12},
    {"max_new_tokens": 12, "num_beams": 3, "early_stopping": True, "length_penalty": 2.0},
    {"max_length": 9, "min_length": 5, "no_repeat_ngram_size": 2},
    {"max_new_tokens": 8, "min_new_tokens": 4, "repetition_penalty": 1.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_answers_are_those_of_generate_alone_and_in_a_batch(
    model: Loaded, reference: Reference, settings: dict[str, Any]
) -> None:
    expected = [{"generated_text": reference(text, **settings)} for text in TEXTS]
    assert ask(model, TEXTS, TASK, **settings) == expected
    for text, answer in zip(TEXTS, expected, strict=True):
        assert ask(model, text, TASK, **settings) == [answer]
        assert ask(model, text, TASK, generate_parameters=settings) == [answer]


def test_an_answer_has_an_end_where_nobody_says_one(bart: Loaded) -> None:
    assert len(ask(bart, "a cat", TASK)[0]["generated_text"]) > 20


def test_a_repositorys_own_settings_hold_until_a_request_changes_them(tmp_path: Path) -> None:
    folder = generation.bart(tmp_path / "model")
    reference = Reference(folder)
    own = reference.model.generation_config
    own.update(num_beams=2, max_length=12, min_length=6, no_repeat_ngram_size=2, early_stopping=True)
    own.save_pretrained(folder)
    loaded = load(folder)
    for text in TEXTS:
        assert ask(loaded, text, TASK) == [{"generated_text": reference(text)}]
        own_length = ask(loaded, text, TASK, max_new_tokens=5, num_beams=1)
        assert own_length == [
            {"generated_text": reference(text, max_new_tokens=5, min_new_tokens=5, num_beams=1, min_length=0)}
        ]


def test_the_same_seed_draws_the_same_whatever_runs_beside_it(bart: Loaded) -> None:
    drawn: dict[str, Any] = {"do_sample": True, "temperature": 3.0, "max_new_tokens": 20}
    alone = ask(bart, "a cat", TASK, seed=3, **drawn)
    assert ask(bart, ["the film was great", "a cat"], TASK, seed=3, **drawn)[1:] == alone
    assert ask(bart, "a cat", TASK, seed=4, **drawn) != alone


def test_blanks_before_stops_go_only_where_asked_for(bart: Loaded) -> None:
    outputs = [generation.byte_tokenizer()("a cat . The film !")["input_ids"]]
    adapter = bart.adapters[TASK]
    for clean, text in ((False, "a cat . The film !"), (True, "a cat. The film!")):
        call = adapter.parse("a", convert({"clean_up_tokenization_spaces": clean}, adapter.parameters))
        assert adapter.postprocess(call, outputs) == [{"generated_text": text}]


def test_nobody_waits_for_an_answer_that_is_not_wanted_any_more(bart: Loaded) -> None:
    adapter = bart.adapters[TASK]
    listener = Listener()
    listener.gone = True
    call = adapter.parse("a cat", convert({"max_new_tokens": 60}, adapter.parameters))
    outputs = run_batch([replace(item, listener=listener) for item in adapter.preprocess(call)])
    assert len(outputs[0]) == 2  # the token that begins it, and one


def test_those_who_stream_get_it_token_by_token(model: Loaded, reference: Reference) -> None:
    expected = [reference(text, max_new_tokens=12, forced_eos_token_id=None) for text in TEXTS]
    answers = ask(model, TEXTS, "text-generation", max_new_tokens=12)
    assert [several[0].text.rstrip("\ufffd") for several in answers] == [text.rstrip("\ufffd") for text in expected]
    adapter = model.adapters["text-generation"]
    tokens: list[Token] = []
    call = adapter.parse(TEXTS[0], convert({"max_new_tokens": 12, "details": True}, adapter.parameters))
    outputs = run_batch([replace(item, listener=Listener(tokens.append)) for item in adapter.preprocess(call)])
    assert (tuple(tokens), "".join(token.text for token in tokens)) == (outputs[0].tokens, answers[0][0].text)
    assert outputs[0].prompt == ""


@pytest.mark.parametrize("cut", [{"truncation": True}, {"truncation": "longest_first"}, {"truncate": True}])
def test_long_texts_are_cut_where_asked_for(bart: Loaded, cut: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="inputs: has 70 tokens, the model takes 64; shorten it, or set truncate"):
        ask(bart, "z" * 70, TASK, truncation="do_not_truncate")
    assert ask(bart, "z" * 70, TASK, max_new_tokens=5, **cut) == ask(bart, "z" * 64, TASK, max_new_tokens=5)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"max_new_tokens": 101}, r"parameters\.max_new_tokens: asks for 101 new tokens, at most 100"),
        ({"generate_parameters": {"max_length": 102}}, r"parameters\.generate_parameters\.max_length: asks for 101"),
        ({"max_new_tokens": 9, "max_length": 9}, r"parameters\.max_length: is given beside max_new_tokens"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, r"min_new_tokens: asks for 5 new tokens, there are at most 4"),
        ({"num_beams": 17}, r"parameters\.num_beams: .*<= 16"),
        ({"num_beams": 2, "generate_parameters": {"num_beams": 2}}, "is given twice: also as parameters.num_beams"),
        ({"generate_parameters": {"cache_implementation": "x"}}, r"generate_parameters\.cache_implementation: unknown"),
        ({"generate_parameters": {"custom_generate": "x"}}, r"generate_parameters\.custom_generate: unknown"),
        ({"generate_parameters": []}, r"parameters\.generate_parameters: Expected object"),
        ({"truncation": "sometimes"}, r"parameters\.truncation: "),
        ({"temperature": -1}, r"parameters\.temperature: "),
        ({"src_lang": "en"}, r"parameters\.src_lang: unknown parameter"),
    ],
)
def test_wrong_parameters_are_named(bart: Loaded, parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ask(bart, "a cat", TASK, **parameters)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [("", "is empty"), ([], "is empty"), ({"text": "a"}, "got an object"), (["a", None], "got null")],
)
def test_wrong_inputs_are_named(bart: Loaded, inputs: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"^inputs.*{says}"):
        ask(bart, inputs, TASK)
