"""/v1/completions: what a request asks the task for, and how its answer is written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import Exchange
from slipway_runtime.serve.dialects.openai import Context
from slipway_runtime.serve.dialects.openai.completions import Completions
from slipway_runtime.serve.inference.service import TaskRequest, TokenIds
from slipway_runtime.tasks.generated import Token

from tests.support.generated import answer, events, generated

COMPLETIONS = Completions(Context("endpoint", clock=lambda: 12.7, new_id=lambda: "id"))


def exchange(**body: Any) -> Exchange:
    return COMPLETIONS.parse(orjson.dumps({"prompt": "a", **body}), {}, {})


def asked(**body: Any) -> TaskRequest:
    return exchange(**body).requests[0]


def whole(*found: Any, **body: Any) -> Any:
    return orjson.loads(exchange(**body).reply([answer(*found)]).body)


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [TokenIds((1, 2))]), (["a", [2, 3]], ["a", TokenIds((2, 3))])],
)
def test_prompts_are_texts_or_token_ids(prompt: Any, inputs: Any) -> None:
    assert asked(prompt=prompt).inputs == inputs


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({}, {"max_new_tokens": 16}),
        ({"max_tokens": 3, "logprobs": 2}, {"max_new_tokens": 3, "top_n_tokens": 2}),
        ({"logprobs": 0}, {"max_new_tokens": 16}),
        ({"n": 2, "best_of": 3}, {"max_new_tokens": 16, "n": 2, "best_of": 3}),
        ({"best_of": 3}, {"max_new_tokens": 16, "n": 1, "best_of": 3}),
        ({"echo": True}, {"max_new_tokens": 16}),
        ({"echo": True, "logprobs": 1}, {"max_new_tokens": 16, "top_n_tokens": 1, "decoder_input_details": True}),
        ({"suffix": ""}, {"max_new_tokens": 16}),
    ],
)
def test_fields_become_parameters_of_the_task(body: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert asked(**body).parameters == {"do_sample": True, **parameters}


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"suffix": "end"}, "suffix", "is not supported; put what is to follow into the prompt"),
        ({"best_of": 2, "stream": True}, "best_of", "cannot be asked of a stream"),
        ({"echo": True, "stream": True}, "echo", "cannot be asked of a stream"),
        ({"prompt": ["a", 1]}, "prompt[1]", "must be a string or a list of token ids"),
        ({"prompt": [1, True]}, "prompt[0]", "must be a string or a list of token ids"),
        ({"prompt": [[]]}, "prompt[0]", "must be a string or a list of token ids"),
        ({"prompt": {}}, "prompt", "Expected str | array, got object"),
        ({"messages": []}, "messages", "unknown field"),
    ],
)
def test_bad_requests_name_the_field(body: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked(**body)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem), caught.value.problem


def test_choices_count_over_all_prompts() -> None:
    content = whole(
        [generated("x"), generated("y", "z")], [generated("u"), generated("v", reason="eos_token")], prompt=["a", "b"]
    )
    assert (content["object"], content["model"], content["created"]) == ("text_completion", "endpoint", 12)
    assert [(one["index"], one["text"], one["finish_reason"]) for one in content["choices"]] == [
        (0, "x", "length"), (1, "yz", "length"), (2, "u", "length"), (3, "v", "stop")
    ]  # fmt: skip
    assert content["usage"] == {"prompt_tokens": 6, "completion_tokens": 5, "total_tokens": 11}


def test_echo_has_the_prompt_and_its_logprobs() -> None:
    one = generated("b", prompt="a", prefill=(Token(9, "a", float("nan"), piece="a"),), top=True)
    choice = whole([one], echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == "ab"
    assert choice["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [{}, {"b": -0.1}],
        "text_offset": [0, 1],
    }


def test_a_stream_has_a_chunk_per_text_the_reasons_and_the_usage() -> None:
    *chunks, one, two, usage, done = events(
        exchange(stream=True, stream_options={"include_usage": True}, prompt=["a", "b"], logprobs=0),
        answer([generated("Hel", "lo")], [generated("x")]),
    )
    assert done == "[DONE]"
    assert [(c["choices"][0]["index"], c["choices"][0]["text"]) for c in chunks] == [(0, "Hel"), (0, "lo"), (1, "x")]
    assert [c["choices"][0]["logprobs"]["text_offset"] for c in chunks] == [[0], [3], [0]]
    assert [c["choices"][0]["finish_reason"] for c in (one, two)] == ["length", "length"]
    assert usage["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}
