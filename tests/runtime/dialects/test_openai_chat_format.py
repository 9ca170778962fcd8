"""/v1/chat/completions: what a request asks the task for, and how its answer is written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import Exchange
from slipway_runtime.serve.dialects.openai import Context
from slipway_runtime.serve.dialects.openai.chat import ChatCompletions
from slipway_runtime.serve.inference.service import TaskRequest
from slipway_runtime.tasks.generated import ToolCall

from tests.support.generated import answer, events, generated

MESSAGES = [{"role": "user", "content": "hello"}]
CHAT = ChatCompletions(Context("endpoint", clock=lambda: 12.7, new_id=lambda: "id"))
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def exchange(**body: Any) -> Exchange:
    return CHAT.parse(orjson.dumps({"messages": MESSAGES, **body}), {}, {})


def asked(**body: Any) -> TaskRequest:
    return exchange(**body).requests[0]


def whole(found: Any, **body: Any) -> Any:
    return orjson.loads(exchange(**body).reply([answer(found)]).body)


def test_what_is_not_given_is_left_to_the_task() -> None:
    request = asked()
    assert request.inputs == {"messages": MESSAGES}
    assert request.parameters == {"do_sample": True}
    assert request.tasks[0] == "text-generation"


def test_nulls_count_as_absent_as_text_generation_sends_them() -> None:
    names = ("temperature", "n", "tools", "seed", "logit_bias", "logprobs", "stop", "max_tokens", "tool_choice")
    assert asked(model="tgi", stream=False, **dict.fromkeys(names)).parameters == {"do_sample": True}


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({"temperature": 0, "top_p": 0.5}, {"do_sample": False}),
        ({"temperature": 0.5, "top_p": 0.5}, {"do_sample": True, "temperature": 0.5, "top_p": 0.5}),
        ({"max_tokens": 5}, {"do_sample": True, "max_new_tokens": 5}),
        ({"max_completion_tokens": 5}, {"do_sample": True, "max_new_tokens": 5}),
        ({"stop": "."}, {"do_sample": True, "stop": ["."]}),
        ({"stop": [".", "!"]}, {"do_sample": True, "stop": [".", "!"]}),
        ({"seed": -3, "n": 2}, {"do_sample": True, "seed": -3, "n": 2}),
        ({"presence_penalty": 1, "frequency_penalty": -1},
         {"do_sample": True, "presence_penalty": 1.0, "frequency_penalty": -1.0}),
        ({"logprobs": True, "top_logprobs": 3}, {"do_sample": True, "top_n_tokens": 3}),
        ({"logit_bias": {"7": -100}}, {"do_sample": True, "logit_bias": {"7": -100.0}}),
        ({"response_format": {"type": "text"}}, {"do_sample": True}),
        ({"response_format": {"type": "json_object"}},
         {"do_sample": True, "grammar": {"type": "json", "value": {"type": "object"}}}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}},
         {"do_sample": True, "grammar": {"type": "json", "value": {"type": "array"}}}),
        # what InferenceClient makes of json_schema
        ({"response_format": {"type": "json_object", "value": {"type": "array"}}},
         {"do_sample": True, "grammar": {"type": "json", "value": {"type": "array"}}}),
        ({"response_format": {"type": "regex", "value": "a+"}},
         {"do_sample": True, "grammar": {"type": "regex", "value": "a+"}}),
    ],
)  # fmt: skip
def test_fields_become_parameters_of_the_task(body: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert asked(**body).parameters == parameters


def test_what_concerns_only_openai_changes_nothing() -> None:
    body = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "prompt_cache_key": "k"}
    assert asked(**body).parameters == {"do_sample": True}


@pytest.mark.parametrize(
    ("body", "chat"),
    [
        ({"tools": [WEATHER]}, {"tools": [WEATHER]}),
        ({"tools": [WEATHER], "tool_choice": "required"}, {"tools": [WEATHER], "tool_choice": "required"}),
        ({"tools": [], "tool_choice": "auto"}, {"tools": []}),
        ({"tool_choice": "none"}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tools": [WEATHER], "tool_prompt": "Call:"}, {"tools": [WEATHER], "tool_prompt": "Call:"}),
    ],
)
def test_tools_are_part_of_the_chat(body: dict[str, Any], chat: dict[str, Any]) -> None:
    assert asked(**body).inputs == {"messages": MESSAGES, **chat}


def test_images_go_to_the_task_that_sees_them() -> None:
    content = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    request = asked(messages=[{"role": "user", "content": content}])
    assert request.tasks[0] == "image-text-to-text"
    assert request.inputs["messages"][0]["content"] == content


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": None}, "messages", "is missing"),
    ({"messages": "hello"}, "messages", "Expected array, got str"),
    ({"temperature": 2.5}, "temperature", "Expected float <= 2.0"),
    ({"top_p": 0}, "top_p", "Expected float > 0.0"),
    ({"n": 0}, "n", "Expected int >= 1"),
    ({"stop": 3}, "stop", "Expected str | array"),
    ({"stream": "yes"}, "stream", "Expected bool, got str"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "is given beside max_completion_tokens"),
    ({"top_logprobs": 2}, "top_logprobs", "needs logprobs to be true"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "is only for a stream"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "must be text, json_object or json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "must be a JSON schema"),
    ({"temprature": 1}, "temprature", "unknown field (did you mean temperature?)"),
    ({"functions": []}, "functions", "unknown field"),
    ({"modalities": ["audio"]}, "modalities[0]", "Invalid enum value 'audio'"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "problem"), REFUSED)
def test_bad_requests_name_the_field(body: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked(**body)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem), caught.value.problem


def test_a_whole_answer() -> None:
    assert whole([generated("Hel", "lo", reason="eos_token")], model="endpoint") == {
        "id": "chatcmpl-id",
        "object": "chat.completion",
        "created": 12,
        "model": "endpoint",
        "system_fingerprint": "slipway-0.1.0",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


@pytest.mark.parametrize(
    ("reason", "written"), [("length", "length"), ("eos_token", "stop"), ("stop_sequence", "stop")]
)
def test_reasons_are_those_that_openais_clients_know(reason: str, written: str) -> None:
    assert whole([generated("a", reason=reason)])["choices"][0]["finish_reason"] == written


def test_several_answers_count_the_prompt_once() -> None:
    content = whole([generated("a", "b"), generated("c")], n=2)
    assert [(one["index"], one["message"]["content"]) for one in content["choices"]] == [(0, "ab"), (1, "c")]
    assert content["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


def test_logprobs_have_the_tokens_bytes_and_the_likeliest() -> None:
    content = whole([generated("é", top=True)], logprobs=True, top_logprobs=1)
    assert content["choices"][0]["logprobs"]["content"] == [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "é", "logprob": -0.1, "bytes": [195, 169]}],
        }
    ]


def test_calls_of_tools() -> None:
    calls = (ToolCall("weather", {"city": "Köln"}), ToolCall("weather", {}))
    choice = whole([generated("x", calls=calls, text="")], tools=[WEATHER])["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0] == {
        "id": "call_id",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
    }
    assert len(choice["message"]["tool_calls"]) == 2
    one = whole([generated("x", calls=calls, text="")], tools=[WEATHER], parallel_tool_calls=False)["choices"][0]
    assert len(one["message"]["tool_calls"]) == 1


def streamed(found: Any, **body: Any) -> Any:
    return events(exchange(stream=True, **body), answer(found))


def test_a_stream_has_a_chunk_per_text_then_the_reason_then_done() -> None:
    *chunks, done = streamed([generated("Hel", "", "lo", reason="eos_token")])
    assert done == "[DONE]"
    assert [one["choices"][0]["delta"] for one in chunks] == [
        {"role": "assistant", "tool_calls": None, "content": "Hel"},
        {"tool_calls": None, "content": "lo"},
        {"tool_calls": None},
    ]
    assert [one["choices"][0]["finish_reason"] for one in chunks] == [None, None, "stop"]
    assert {one["id"] for one in chunks} == {"chatcmpl-id"}
    assert all("logprobs" in one["choices"][0] and one["system_fingerprint"] for one in chunks)


def test_the_role_is_everywhere_for_text_generations_client_alone() -> None:
    chunks = streamed([generated("a", "b")], model="tgi")[:-1]
    assert all(one["choices"][0]["delta"]["role"] == "assistant" for one in chunks)


def test_the_usage_comes_last_when_asked_for() -> None:
    *chunks, usage, _ = streamed([generated("a", "b")], stream_options={"include_usage": True})
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert all(one["usage"] is None for one in chunks)


def test_several_answers_share_a_stream_by_their_index() -> None:
    chunks = streamed([generated("a"), generated("b")], n=2)[:-1]
    texts = {0: "", 1: ""}
    for one in chunks:
        texts[one["choices"][0]["index"]] += one["choices"][0]["delta"].get("content", "")
    assert texts == {0: "a", 1: "b"}
    assert [one["choices"][0]["delta"].get("role") for one in chunks] == ["assistant", "assistant", None, None]


def test_calls_of_tools_come_whole_at_the_end_of_a_stream() -> None:
    call = ToolCall("weather", {"city": "Rome"})
    *_, calls, end, _ = streamed([generated("", "", calls=(call,), text="")], tools=[WEATHER])
    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert calls["choices"][0]["delta"]["tool_calls"] == [
        {"index": 0, "id": "call_id", "type": "function", "function": function}
    ]
    assert end["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stream_with_logprobs_has_every_token_even_without_text() -> None:
    chunks = streamed([generated("a", "", "b")], logprobs=True)[:-2]
    assert [one["choices"][0]["logprobs"]["content"][0]["token"] for one in chunks] == ["a", "", "b"]
