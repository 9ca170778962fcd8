"""Answers that follow a grammar, written by a model that knows nothing: only the grammar makes them right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Loaded
from slipway_runtime.tasks.generated import Generated

from tests.support.asking import ask, load
from tests.support.models import tokenizer as wordpiece
from tests.support.tiny import generation

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "é"]}, "minItems": 1, "maxItems": 3},
        "ok": {"type": "boolean"},
    },
    "required": ["name", "age", "tags", "ok"],
    "additionalProperties": False,
}
CHOICE: dict[str, Any] = {
    "anyOf": [{"const": "yes"}, {"type": "array", "items": {"type": "null"}, "maxItems": 2}, {"enum": [1.5, "ü"]}]
}
SCHEMAS = [PERSON, CHOICE, {"$ref": "#/$defs/p", "$defs": {"p": PERSON}}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(generation.decoder(tmp_path_factory.mktemp("model") / "llama"))


def one(model: Loaded, grammar: Any, **parameters: Any) -> Generated:
    answer: Generated = ask(model, "a cat", grammar=grammar, max_new_tokens=150, **parameters)[0][0]
    return answer


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("kind", ["json", "json_object", "json_schema"])
def test_answers_parse_and_fit_their_schema(model: Loaded, schema: dict[str, Any], kind: str) -> None:
    value = {"name": "it", "schema": schema, "strict": True} if kind == "json_schema" else schema
    for seed in range(4):
        answer = one(model, {"type": kind, "value": value}, seed=seed, temperature=2.0)
        assert answer.finish_reason == "eos_token"
        jsonschema.validate(json.loads(answer.text), schema)
    jsonschema.validate(json.loads(one(model, {"type": kind, "value": value}).text), schema)


def test_a_schema_may_come_as_a_string(model: Loaded) -> None:
    answer = one(model, {"type": "json", "value": json.dumps(PERSON)})
    jsonschema.validate(json.loads(answer.text), PERSON)


@pytest.mark.parametrize("pattern", [r"[a-c]{3}-\d{2}", r"(ja|nein)", r"é+x{4}"])
def test_answers_fit_their_regular_expression(model: Loaded, pattern: str) -> None:
    for seed in range(3):
        answer = one(model, {"type": "regex", "value": pattern}, seed=seed, do_sample=True)
        assert re.fullmatch(pattern, answer.text) or answer.finish_reason == "length"


def test_json_object_alone_asks_for_any_object(model: Loaded) -> None:
    text = one(model, {"type": "json_object"}, seed=2, do_sample=True).text
    assert text.startswith("{")


def test_each_answer_follows_its_own_grammar(model: Loaded) -> None:
    texts = [answers[0].text for answers in ask(
        model, ["a cat", "the film was great", "é"], grammar={"type": "regex", "value": "[xyz]{8}"}, max_new_tokens=20
    )]  # fmt: skip
    assert all(re.fullmatch("[xyz]{8}", text) for text in texts)
    several = ask(model, "a cat", n=3, do_sample=True, grammar={"type": "json", "value": PERSON}, max_new_tokens=150)[0]
    for answer in several:
        jsonschema.validate(json.loads(answer.text), PERSON)


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        (
            {"type": "json", "value": {"type": "nonsense"}},
            r"parameters\.grammar\.value: cannot be followed: .*nonsense",
        ),
        ({"type": "json", "value": "{"}, "value: is no JSON schema"),
        ({"type": "json"}, "value: must be a JSON schema"),
        ({"type": "json_schema", "value": {"schema": {"minimum": "a"}}}, r"value\.schema: cannot be followed"),
        ({"type": "json", "value": {"$ref": "https://example.com/a.json"}}, "value: cannot be followed"),
        ({"type": "regex", "value": "(a"}, "value: cannot be followed"),
        ({"type": "regex", "value": ""}, "value: must be a regular expression"),
        ({"type": "regex"}, "value: must be a regular expression"),
        ({"type": "lark", "value": "a"}, r"parameters\.grammar\.type: Invalid enum value"),
        ({"kind": "json"}, r"parameters\.grammar\.kind: unknown parameter"),
    ],
)
def test_a_grammar_that_cannot_be_followed_is_refused_with_the_reason(
    model: Loaded, grammar: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as raised:
        one(model, grammar)
    assert len(raised.value.message) < 400
    assert "\n" not in raised.value.message


def test_a_grammar_that_fails_only_while_it_is_written_is_the_callers_error_too(model: Loaded) -> None:
    with pytest.raises(InvalidInput, match=r"parameters\.grammar\.value: cannot be followed"):
        one(model, {"type": "regex", "value": "</s>"})
    assert one(model, {"type": "regex", "value": "ab"}).text == "ab"


def test_an_end_cannot_be_put_off_beside_a_grammar(model: Loaded) -> None:
    with pytest.raises(InvalidInput, match="min_new_tokens: cannot be kept beside a grammar"):
        one(model, {"type": "regex", "value": "a"}, min_new_tokens=3)


def test_a_model_whose_tokens_are_no_bytes_refuses_grammars(tmp_path: Path) -> None:
    folder = generation.decoder(tmp_path / "model")
    wordpiece(model_max_length=256).save_pretrained(folder)
    loaded = load(folder)
    with pytest.raises(InvalidInput, match=r"parameters\.grammar: is not possible with this model's tokenizer"):
        ask(loaded, "a cat", grammar={"type": "regex", "value": "a"})
