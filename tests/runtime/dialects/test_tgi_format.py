"""Generated text as text-generation-inference writes it, on /generate, on /generate_stream and on `/`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from slipway_runtime.errors import InferenceFailed, InvalidInput, Overloaded
from slipway_runtime.serve.dialects import Dialect, Exchange
from slipway_runtime.serve.dialects.huggingface import HuggingFace
from slipway_runtime.serve.dialects.tgi import TextGenerationInference
from slipway_runtime.tasks.generated import Generated, Token

from tests.support.generated import answer, events, generated

GENERATE, STREAM = TextGenerationInference(stream=False), TextGenerationInference(stream=True)
CHAT = [{"role": "user", "content": "hi"}]


def exchange(dialect: Dialect, **body: Any) -> Exchange:
    return dialect.parse(orjson.dumps({"inputs": "Say", **body}), {}, {})


def whole(dialect: Dialect, found: list[Generated], **body: Any) -> Any:
    return orjson.loads(exchange(dialect, **body).reply([answer(found)]).body)


def hello(**more: Any) -> Generated:
    return generated(" hel", "lo", reason="eos_token", prompt="Say", **more)


def test_generate_answers_with_one_object_without_the_prompt() -> None:
    assert whole(GENERATE, [hello()]) == {"generated_text": " hello"}
    assert whole(GENERATE, [hello()], parameters={"return_full_text": True}) == {"generated_text": "Say hello"}


def test_the_root_answers_with_a_list_and_the_prompt_as_tgi_does() -> None:
    root = HuggingFace()
    assert whole(root, [hello()]) == [{"generated_text": "Say hello"}]
    assert whole(root, [hello()], parameters={"return_full_text": None}) == [{"generated_text": "Say hello"}]
    assert whole(root, [hello()], parameters={"return_full_text": False}) == [{"generated_text": " hello"}]


def test_the_root_answers_a_list_of_texts_with_a_list_each() -> None:
    asked = exchange(HuggingFace(), inputs=["a", "b"], parameters={"return_full_text": False})
    content = orjson.loads(asked.reply([answer([generated("x"), generated("y")], [generated("z")])]).body)
    assert content == [[{"generated_text": "x"}, {"generated_text": "y"}], [{"generated_text": "z"}]]


def test_a_chat_is_one_input_and_its_full_text_is_the_conversation() -> None:
    root = HuggingFace()
    assert exchange(root, inputs=CHAT).requests[0].inputs == CHAT
    answered = [*CHAT, {"role": "assistant", "content": " hello"}]
    assert whole(root, [hello()], inputs=CHAT) == [{"generated_text": answered}]
    assert whole(root, [hello()], inputs=CHAT, parameters={"return_full_text": False}) == [{"generated_text": " hello"}]
    assert whole(root, [hello()], inputs={"messages": CHAT}) == [{"generated_text": answered}]
    assert whole(GENERATE, [hello()], inputs=CHAT) == {"generated_text": " hello"}
    assert whole(GENERATE, [hello()], inputs={"messages": CHAT, "tools": []}) == {"generated_text": " hello"}


def test_details() -> None:
    one = hello(seed=7, prefill=(Token(5, "Say", float("nan")),), top=True)
    content = whole(GENERATE, [one], parameters={"details": True})
    assert content["details"] == {
        "finish_reason": "eos_token",
        "generated_tokens": 2,
        "seed": 7,
        "prefill": [{"id": 5, "text": "Say", "logprob": None}],
        "tokens": [
            {"id": 1, "text": " hel", "logprob": -0.5, "special": False},
            {"id": 2, "text": "lo", "logprob": -1.0, "special": False},
        ],
        "top_tokens": [
            [{"id": 1, "text": " hel", "logprob": -0.1, "special": False}],
            [{"id": 2, "text": "lo", "logprob": -0.1, "special": False}],
        ],
    }
    assert "top_tokens" not in whole(GENERATE, [hello()], parameters={"details": True})["details"]
    assert "details" in whole(GENERATE, [hello()], parameters={"decoder_input_details": True})


def test_the_best_of_several_is_the_answer_and_the_others_are_details() -> None:
    parameters = {"best_of": 2, "details": True, "do_sample": True}
    content = whole(GENERATE, [generated("a", "b", "c"), generated("d")], parameters=parameters)
    assert content["generated_text"] == "d"
    assert [one["generated_text"] for one in content["details"]["best_of_sequences"]] == ["abc"]
    assert whole(HuggingFace(), [generated("a", "b"), generated("c")], parameters={"best_of": 2}) == [
        {"generated_text": "c"}
    ]


def test_headers() -> None:
    reply = exchange(GENERATE).reply([answer([hello()])])
    assert dict(reply.headers) == {
        "x-compute-type": "cpu",
        "x-compute-time": "0.253000",
        "x-compute-characters": "3",
        "x-total-time": "253",
        "x-validation-time": "1",
        "x-queue-time": "2",
        "x-inference-time": "250",
        "x-time-per-token": "125",
        "x-prompt-tokens": "3",
        "x-generated-tokens": "2",
    }
    assert exchange(HuggingFace()).reply([answer([hello()])]).headers == reply.headers


@pytest.mark.parametrize(("dialect", "body"), [(STREAM, {}), (HuggingFace(), {"stream": True})])
def test_a_stream_ends_with_the_text_in_the_last_tokens_event_and_no_done(dialect: Dialect, body: Any) -> None:
    parameters = {"details": True, "return_full_text": False}
    found = events(exchange(dialect, **body, parameters=parameters), answer([hello(seed=7)]))
    assert found == [
        {"index": 1, "token": {"id": 1, "text": " hel", "logprob": -0.5, "special": False},
         "generated_text": None, "details": None},
        {"index": 2, "token": {"id": 2, "text": "lo", "logprob": -1.0, "special": False}, "generated_text": " hello",
         "details": {"finish_reason": "eos_token", "generated_tokens": 2, "seed": 7, "input_length": 3}},
    ]  # fmt: skip


def test_a_stream_without_details_and_with_the_prompt() -> None:
    *_, last = events(exchange(HuggingFace(), stream=True), answer([hello()]))
    assert (last["generated_text"], last["details"]) == ("Say hello", None)
    *_, last = events(exchange(STREAM), answer([hello()]))
    assert last["generated_text"] == " hello"


def test_the_likeliest_tokens_of_a_stream() -> None:
    first, _ = events(exchange(STREAM), answer([hello(top=True)]))
    assert first["top_tokens"] == [{"id": 1, "text": " hel", "logprob": -0.1, "special": False}]


def test_an_answer_that_ends_before_its_last_token_still_has_its_text() -> None:
    assert events(exchange(STREAM), answer([generated()]))[-1]["generated_text"] == ""


def test_lora_adapters_go_by_adapter_id() -> None:
    for dialect in (GENERATE, HuggingFace()):
        request = exchange(dialect, parameters={"adapter_id": "pirate"}).requests[0]
        assert (request.model, request.parameters) == ("pirate", {})


@pytest.mark.parametrize(
    ("dialect", "body", "field", "problem"),
    [
        (GENERATE, {"stream": True}, "stream", "is decided by the route"),
        (STREAM, {"stream": False}, "stream", "is decided by the route"),
        (GENERATE, {"inputs": None}, "inputs", "is missing"),
        (GENERATE, {"inputs": 3}, "inputs", "Expected str | "),
        (GENERATE, {"inputs": ["a", "b"]}, "inputs", "must be one text, or the messages of a chat"),
        (GENERATE, {"parameters": []}, "parameters", "Expected object"),
        (GENERATE, {"parameter": {}}, "parameter", "unknown field (did you mean parameters?)"),
        (GENERATE, {"parameters": {"adapter_id": 3}}, "parameters.adapter_id", "must be a string"),
        (STREAM, {"parameters": {"n": 2}}, "parameters.n", "cannot be asked of a stream: its events are of one answer"),
        (STREAM, {"parameters": {"best_of": 2}}, "parameters.best_of", "cannot be asked of a stream"),
        (STREAM, {"parameters": {"decoder_input_details": True}}, "parameters.decoder_input_details",
         "cannot be asked of a stream"),
        (HuggingFace(), {"stream": True, "inputs": ["a", "b"]}, "stream", "streams one answer"),
        (HuggingFace(), {"stream": True, "parameters": {"best_of": 2}}, "parameters.best_of", "cannot be asked"),
        (HuggingFace(), {"stream": 1}, "stream", "must be true or false"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_field(dialect: Dialect, body: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        exchange(dialect, **body)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem), caught.value.problem


@pytest.mark.parametrize("name", ["n", "best_of", "decoder_input_details"])
def test_what_is_switched_off_does_not_hinder_a_stream(name: str) -> None:
    off = {"n": 1, "best_of": 1, "decoder_input_details": False}[name]
    assert exchange(STREAM, parameters={name: off}).events is not None
    assert exchange(STREAM, parameters={name: None}).events is not None


def test_errors_have_tgis_words_and_status() -> None:
    assert GENERATE.statuses[InferenceFailed] == 424
    assert orjson.loads(GENERATE.render_error(InferenceFailed("x"))) == {"error": "x", "error_type": "generation"}
    assert orjson.loads(GENERATE.render_error(Overloaded("x", 1)))["error_type"] == "overloaded"
