"""Chats and completions of a real model, asked by OpenAI's own client and by InferenceClient."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from openai import AsyncOpenAI, OpenAI

from tests.support.runtime_server import RuntimeServer

MESSAGES: list[Any] = [{"role": "user", "content": "the film was great"}]
GREEDY: dict[str, Any] = {"model": "writer", "messages": MESSAGES, "max_tokens": 8, "temperature": 0}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"days": {"enum": [1, 2]}}, "required": ["days"],
                       "additionalProperties": False},
    },
}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"name": {"enum": ["cat", "film"]}}, "required": ["name"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def client(writer: RuntimeServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{writer.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def answered(client: OpenAI) -> Any:
    return client.chat.completions.create(**GREEDY)


def test_a_chat(answered: Any) -> None:
    assert answered.choices[0].message.role == "assistant"
    assert answered.choices[0].message.content
    assert answered.choices[0].finish_reason in ("length", "stop")
    assert answered.usage.completion_tokens <= 8
    assert answered.usage.total_tokens == answered.usage.prompt_tokens + answered.usage.completion_tokens


def test_the_prompt_is_counted_as_chat_tokenize_does(writer: RuntimeServer, answered: Any) -> None:
    content = writer.post({"messages": MESSAGES}, path="/chat_tokenize").json()
    assert content["templated_text"] == "<|user|>the film was great</s><|assistant|>"
    assert len(content["tokenize_response"]) == answered.usage.prompt_tokens


def test_a_stream_has_the_same_text_and_usage(client: OpenAI, answered: Any) -> None:
    chunks = list(client.chat.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answered.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == answered.choices[0].finish_reason
    assert chunks[-1].usage == answered.usage


def test_the_clients_stream_helper_puts_the_same_message_together(client: OpenAI, answered: Any) -> None:
    with client.chat.completions.stream(**GREEDY) as stream:
        stream.until_done()
        final = stream.current_completion_snapshot
    assert final.choices[0].message.content == answered.choices[0].message.content
    assert final.choices[0].message.role == "assistant"


async def test_async_client(writer: RuntimeServer, answered: Any) -> None:
    async with AsyncOpenAI(base_url=f"{writer.url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(**GREEDY)
        stream = await client.chat.completions.create(**GREEDY, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert answer.choices[0].message.content == text == answered.choices[0].message.content


def test_inference_client(writer: RuntimeServer, answered: Any) -> None:
    with InferenceClient(model=writer.url) as client:
        answer = client.chat_completion(MESSAGES, max_tokens=8, temperature=0.0)
        chunks = list(client.chat_completion(MESSAGES, max_tokens=8, temperature=0.0, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert answer.choices[0].message.content == text == answered.choices[0].message.content
    assert answer.model == "writer"
    assert answer.usage.total_tokens == answered.usage.total_tokens


async def test_async_inference_client(writer: RuntimeServer, answered: Any) -> None:
    async with AsyncInferenceClient(model=writer.url) as client:
        answer = await client.chat_completion(MESSAGES, max_tokens=8, temperature=0.0)
    assert answer.choices[0].message.content == answered.choices[0].message.content


def test_the_schema_of_response_format_is_kept_by_both_clients(client: OpenAI, writer: RuntimeServer) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}
    asked = {**GREEDY, "max_tokens": 40}
    answer = client.chat.completions.create(**asked, response_format=form)
    assert json.loads(answer.choices[0].message.content or "")["name"] in ("cat", "film")
    with InferenceClient(model=writer.url) as other:  # sends {"type": "json_object", "value": schema}
        same = other.chat_completion(MESSAGES, max_tokens=40, temperature=0.0, response_format=form)
    assert same.choices[0].message.content == answer.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is(client: OpenAI, stream: bool) -> None:
    asked = {**GREEDY, "max_tokens": 60, "tools": [WEATHER], "tool_choice": "required"}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments)["days"] in (1, 2)
    assert not choice.message.content


def test_what_a_tool_said_goes_back_into_the_chat(client: OpenAI) -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"days": 1}'}}]
    messages = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]  # fmt: skip
    answer = client.chat.completions.create(**{**GREEDY, "messages": messages, "tools": [WEATHER]})
    assert answer.choices[0].finish_reason in ("length", "stop")


def test_logprobs(client: OpenAI, answered: Any) -> None:
    choice = client.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=3).choices[0]
    assert choice.logprobs and choice.logprobs.content
    assert len(choice.logprobs.content) == answered.usage.completion_tokens
    for token in choice.logprobs.content:
        assert [token.logprob, *[top.logprob for top in token.top_logprobs[1:]]] == [
            top.logprob for top in token.top_logprobs
        ]


def test_several_answers_and_seeds(client: OpenAI) -> None:
    asked = {**GREEDY, "temperature": 1.0, "n": 3, "seed": 7}
    first, second = (client.chat.completions.create(**asked) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert len(set(texts)) > 1
    assert texts == [choice.message.content for choice in second.choices]
    chunks = client.chat.completions.create(**asked, stream=True)
    streamed = ["", "", ""]
    for chunk in chunks:
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_a_stop_string_ends_the_answer_without_it(client: OpenAI, answered: Any) -> None:
    text = answered.choices[0].message.content
    stop = text[2:4]
    answer = client.chat.completions.create(**GREEDY, stop=stop)
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_completions_of_texts(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "writer", "max_tokens": 6, "temperature": 0}
    both = client.completions.create(**asked, prompt=["the film", "a cat"])
    each = [client.completions.create(**asked, prompt=text) for text in ("the film", "a cat")]
    assert [choice.text for choice in both.choices] == [one.choices[0].text for one in each]
    assert both.usage and both.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in each if one.usage)
    chunks = list(client.completions.create(**asked, prompt="the film", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == each[0].choices[0].text


def test_a_prompt_may_be_the_models_own_token_ids(client: OpenAI, writer: RuntimeServer) -> None:
    ids = [piece["id"] for piece in writer.post({"inputs": "the film is a cat"}, path="/tokenize").json()]
    asked: dict[str, Any] = {"model": "writer", "max_tokens": 6, "temperature": 0}
    text = client.completions.create(**asked, prompt="the film is a cat")
    for prompt in (ids, [ids]):
        same = client.completions.create(**asked, prompt=prompt)
        assert (same.choices[0].text, same.usage) == (text.choices[0].text, text.usage)
    with pytest.raises(openai.BadRequestError, match=r"prompt\[0\]\[1\]: 99999 is no token id of this model"):
        client.completions.create(**asked, prompt=[ids[0], 99999])


def test_completions_echo_the_prompt_with_its_logprobs(client: OpenAI) -> None:
    choice = client.completions.create(
        model="writer", prompt="the film", max_tokens=3, temperature=0, echo=True, logprobs=2
    ).choices[0]
    assert choice.text.startswith("the film")
    found = choice.logprobs
    assert found and found.tokens and found.token_logprobs and found.text_offset
    assert found.token_logprobs[0] is None
    assert all(logprob <= 0 for logprob in found.token_logprobs[1:])
    assert found.text_offset[0] == 0


def test_the_best_of_several_is_one(client: OpenAI) -> None:
    answer = client.completions.create(model="writer", prompt="the film", max_tokens=3, best_of=3, seed=3)
    assert len(answer.choices) == 1


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("chat/completions", {"messages": []}, "messages", "is empty; give at least one"),
    ("chat/completions", {"messages": ["a"]}, "messages[0]", "must be an object"),
    ("chat/completions", {"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role", "must be one of"),
    ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
    ("chat/completions", {"max_tokens": 65}, "max_tokens", "is 65, at most 64 are allowed on this server"),
    ("chat/completions", {"max_completion_tokens": 65}, "max_completion_tokens", "is 65, at most 64"),
    ("chat/completions", {"n": 17}, "n", "Expected int <= 16"),
    ("chat/completions", {"stop": [""]}, "stop[0]", "Expected str of length >= 1"),
    ("chat/completions", {"logit_bias": {"9999": 1}}, "logit_bias.9999", "is no token id of this model"),
    ("chat/completions", {"tool_choice": "required"}, "tool_choice", "must be auto, none, required or one of"),
    ("chat/completions", {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name",
     "must be 1 to 64 letters"),
    ("chat/completions", {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "thing"}}}},
     "response_format.json_schema.schema", "cannot be followed"),
    ("chat/completions", {"messages": [{"role": "user", "content": "the film " * 300}]}, "messages", "has "),
    ("chat/completions",
     {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
     "messages[0].content[0]", "must be a part of type text: this model reads only text"),
    ("completions", {"prompt": ""}, "prompt[0]", "is empty; give a text"),
    ("completions", {"prompt": "a", "best_of": 2, "n": 3}, "best_of", "is 2, less than n, 3"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body", "param", "problem"), REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_name_openais_field(
    writer: RuntimeServer, route: str, body: dict[str, Any], param: str, problem: str, *, stream: bool
) -> None:
    base: dict[str, Any] = {"messages": MESSAGES} if route.startswith("chat") else {}
    answer = writer.post({**base, **body, "stream": stream and "best_of" not in body}, path=f"/v1/{route}")
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: {problem}"), error["message"]


def test_another_model_is_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**{**GREEDY, "model": "gpt-4o"})
    assert caught.value.code == "model_not_found"


def test_a_recording_cannot_be_transcribed_here(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="this model does text-generation"):
        client.audio.transcriptions.create(model="writer", file=("a.wav", b"RIFF"))


def test_a_stream_has_the_headers_of_one(writer: RuntimeServer) -> None:
    with httpx.stream("POST", f"{writer.url}/v1/chat/completions", json={**GREEDY, "stream": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.read().endswith(b"data: [DONE]\n\n")
