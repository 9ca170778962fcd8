"""Chats: written by the tokenizer's template; tools offered, called, and calls that must be made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Listener, Loaded
from slipway_runtime.tasks.generated import Generated, Token, ToolCall
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sequence import Sequence, Vocabulary, advance
from slipway_runtime.tasks.generation.tools import Calls
from slipway_runtime.tasks.parameters import convert

from tests.support.asking import ask, load
from tests.support.tiny import generation

HELLO = [{"role": "user", "content": "a cat"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["paris", "rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALL = ToolCall("weather", {"city": "rome"})
WRITTEN = '{"name": "weather", "arguments": {"city": "rome"}}'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(generation.chat_decoder(tmp_path_factory.mktemp("model") / "llama"), limits=Limits(max_new_tokens=120))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loaded]:
    """A model with another template, or none."""

    def make(template: str | None) -> Loaded:
        folder: Path = tmp_path_factory.mktemp("model") / "llama"
        return load(generation.decoder(folder, chat_template=template))

    return make


def prompt_of(model: Loaded, inputs: Any) -> str:
    answer: Generated = ask(model, inputs, max_new_tokens=1)[0][0]
    return answer.prompt


def test_a_chat_is_written_by_the_template_and_the_answer_begun(model: Loaded) -> None:
    messages = [{"role": "system", "content": "the great"}, *HELLO]
    expected = "<|system|>the great</s><|user|>a cat</s><|assistant|>"
    assert prompt_of(model, {"messages": messages}) == expected
    assert prompt_of(model, messages) == expected
    answer = ask(model, messages, max_new_tokens=4)[0][0]
    assert answer.prompt_tokens == len(generation.byte_tokenizer()(expected)["input_ids"])


def test_it_is_what_transformers_would_continue(model: Loaded, tmp_path: Path) -> None:
    from transformers import pipeline

    folder = generation.chat_decoder(tmp_path / "model")
    expected = pipeline("text-generation", model=str(folder))(HELLO, max_new_tokens=12, do_sample=False)
    answer = ask(model, HELLO, max_new_tokens=12)[0][0]
    assert answer.text.rstrip("\ufffd") == expected[0]["generated_text"][-1]["content"].rstrip("\ufffd")


def test_a_chat_goes_on_as_long_as_the_server_allows(model: Loaded) -> None:
    answer = ask(model, {"messages": HELLO}, logit_bias={"70": 100})[0][0]
    assert (len(answer.tokens), answer.finish_reason) == (120, "length")


def test_parts_of_text_are_joined_and_developers_are_the_system(model: Loaded) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "cat"}]
    messages = [{"role": "developer", "content": "great"}, {"role": "user", "content": parts}]
    assert prompt_of(model, messages) == "<|system|>great</s><|user|>a\ncat</s><|assistant|>"


def test_calls_and_results_of_tools_are_part_of_a_conversation(model: Loaded) -> None:
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    ]
    written = prompt_of(model, {"messages": messages})
    assert json.loads(written.split("<tool_call>")[1].split("</tool_call>")[0]) == json.loads(WRITTEN)
    assert "<|tool|>sun" in written


def test_tools_are_written_by_the_template(model: Loaded) -> None:
    written = prompt_of(model, {"messages": HELLO, "tools": [WEATHER]})
    assert json.loads(written.split("<|system|>")[1].split("</s>")[0]) == [WEATHER]
    assert "<|system|>" not in prompt_of(model, {"messages": HELLO, "tools": [WEATHER], "tool_choice": "none"})


def test_a_template_without_tools_has_them_told_in_the_last_question(plain: Callable[..., Loaded]) -> None:
    loaded = plain("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    written = prompt_of(loaded, {"messages": HELLO, "tools": [WEATHER], "tool_prompt": "the great tools"})
    assert written.startswith("user: a cat\n---\nthe great tools\n[")
    assert '"weather"' in written


@pytest.mark.parametrize("choice", ["required", "weather", {"type": "function", "function": {"name": "weather"}}])
def test_a_tool_that_must_be_called_is_called(model: Loaded, choice: Any) -> None:
    for seed in range(3):
        inputs = {"messages": HELLO, "tools": [WEATHER], "tool_choice": choice}
        answer = ask(model, inputs, do_sample=True, temperature=2.0, seed=seed)[0][0]
        assert [call.name for call in answer.tool_calls] == ["weather"]
        jsonschema.validate(answer.tool_calls[0].arguments, WEATHER["function"]["parameters"])
        assert answer.text == ""


def test_any_of_several_tools_may_be_the_one_that_is_called(model: Loaded) -> None:
    inputs = {"messages": HELLO, "tools": [WEATHER, CLOCK], "tool_choice": "required"}
    first = ask(model, inputs, seed=1, do_sample=True, temperature=2.0, max_new_tokens=100)[0][0]
    assert first.text.startswith('{"name": ') or first.tool_calls[0].name in ("weather", "clock")
    named = ask(model, {**inputs, "tool_choice": "weather"}, do_sample=True, seed=2)[0][0]
    assert named.tool_calls[0].name == "weather"


@pytest.mark.parametrize(
    ("written", "text", "calls"),
    [
        (WRITTEN, "", (CALL,)),
        (f"\n {WRITTEN}\n", "", (CALL,)),
        ('{"name": "weather", "parameters": {"city": "rome"}}', "", (CALL,)),
        ('{"name": "weather", "arguments": "{\\"city\\": \\"rome\\"}"}', "", (CALL,)),
        ('{"type": "function", "function": {"name": "weather", "arguments": {"city": "rome"}}}', "", (CALL,)),
        (f"[{WRITTEN}, {WRITTEN}]", "", (CALL, CALL)),
        (f"{WRITTEN}; {WRITTEN}", "", (CALL, CALL)),
        (f"<|python_tag|>{WRITTEN}", "", (CALL,)),
        (f"[TOOL_CALLS] [{WRITTEN}]", "", (CALL,)),
        (f"<tool_call>\n{WRITTEN}\n</tool_call>", "", (CALL,)),
        (f"Let me see.\n<tool_call>{WRITTEN}</tool_call>\n<tool_call>{WRITTEN}", "Let me see.\n", (CALL, CALL)),
        ('{"name": "clock"}', "", (ToolCall("clock", {}),)),
        ('{"name": "other", "arguments": {}}', None, ()),
        ('{"name": "weather", "arguments": [1]}', None, ()),
        (f"It is {WRITTEN}", None, ()),
        (f"{WRITTEN} I think", None, ()),
        ("<tool_call>nonsense</tool_call>", None, ()),
        ("[1] is a reference", None, ()),
        ("sun", None, ()),
        ("{" * 100_000, None, ()),
        ("[" * 100_000, None, ()),
    ],
)
def test_calls_are_read_from_an_answer(written: str, text: str | None, calls: tuple[ToolCall, ...]) -> None:
    reader = Calls(frozenset({"weather", "clock"}))
    assert reader.read(written) == (written if text is None else text, calls)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (WRITTEN, ""),
        (f"See: <tool_call>{WRITTEN}</tool_call>", "See: "),
        ("a < b <tool but no call", "a < b <tool but no call"),
        ("{no call}", "{no call}"),
    ],
)
def test_a_stream_shows_no_call_and_everything_else(written: str, shown: str) -> None:
    tok = generation.byte_tokenizer()
    ids = tok(written, add_special_tokens=False)["input_ids"]
    tokens: list[Token] = []
    prompt = Prompt(ids=[3], max_new_tokens=len(ids), calls=Calls(frozenset({"weather"})))
    sequence = Sequence(prompt, Vocabulary.of(tok, [2]), Listener(tokens.append))
    sequence_of(sequence, ids)
    whole = sequence.result()
    assert isinstance(whole, Generated)
    assert "".join(token.text for token in tokens) == shown == whole.text
    assert bool(whole.tool_calls) is (shown != written)


def sequence_of(sequence: Sequence, ids: list[int]) -> None:
    """Have these tokens chosen."""
    import torch

    for token in ids:
        logits = torch.zeros(1, 400)
        logits[0, token] = 10.0
        assert not sequence.done
        advance([sequence], logits)
        assert sequence.last == token


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"messages": []}, r"inputs\.messages: is empty"),
        ({"messages": "hello"}, r"inputs\.messages: must be a list of messages, got a string"),
        ({"messages": ["hello"]}, r"inputs\.messages\[0\]: must be an object .* got a string"),
        ([{"content": "a"}], r"inputs\[0\]\.role: must be one of system, .*; got null"),
        ([{"role": "robot", "content": "a"}], r"inputs\[0\]\.role: .*got 'robot'"),
        ([{"role": "user"}], r"inputs\[0\]\.content: is missing"),
        ([{"role": "user", "content": 3}], r"inputs\[0\]\.content: must be a string or a list of parts, got a number"),
        ([{"role": "user", "content": "a", "mood": "good"}], r"inputs\[0\]\.mood: is unknown"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}],
            r"inputs\[0\]\.content\[0\]: must be a part of type text.*'image_url'",
        ),
        ([{"role": "user", "content": "a", "tool_calls": [{}]}], r"inputs\[0\]\.tool_calls: is for the assistant"),
        ({"messages": HELLO, "tools": {}, "x": 1}, r"inputs\.x: is unknown"),
        ({"messages": HELLO, "tools": "weather"}, r"inputs\.tools: must be a list"),
        ({"messages": HELLO, "tools": [{"type": "web"}]}, r"inputs\.tools\[0\]: must be an object"),
        (
            {"messages": HELLO, "tools": [{"type": "function", "function": {"name": "a b"}}]},
            r"inputs\.tools\[0\]\.function\.name: must be 1 to 64",
        ),
        ({"messages": HELLO, "tools": [CLOCK, CLOCK]}, r"tools\[1\]\.function\.name: is 'clock' a second time"),
        ({"messages": HELLO, "tool_choice": "required"}, r"inputs\.tool_choice: .*no tools were given"),
        ({"messages": HELLO, "tools": [CLOCK], "tool_choice": "sun"}, r"tool_choice: .*one of the tools: clock"),
        ({"messages": HELLO, "tool_prompt": 3}, r"inputs\.tool_prompt: must be a string"),
    ],
)
def test_wrong_chats_are_named(model: Loaded, inputs: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ask(model, inputs, max_new_tokens=1)


def test_tools_whose_arguments_cannot_be_followed_are_refused(model: Loaded) -> None:
    tool = {"type": "function", "function": {"name": "a", "parameters": {"type": "nonsense"}}}
    with pytest.raises(InvalidInput, match=r"inputs\.tools: cannot be followed"):
        ask(model, {"messages": HELLO, "tools": [tool], "tool_choice": "required"})
    with pytest.raises(InvalidInput, match=r"parameters\.grammar: cannot be kept beside a tool"):
        grammar = {"type": "regex", "value": "a"}
        ask(model, {"messages": HELLO, "tools": [CLOCK], "tool_choice": "clock"}, grammar=grammar)


def test_a_model_without_a_template_says_so(plain: Callable[..., Loaded]) -> None:
    with pytest.raises(InvalidInput, match="this model has no chat template; send the whole prompt as one string"):
        ask(plain(None), HELLO)


def test_what_a_template_refuses_is_said_in_its_words(plain: Callable[..., Loaded]) -> None:
    loaded = plain("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(InvalidInput, match="chat template refuses this conversation: Roles must alternate"):
        ask(loaded, HELLO)


@pytest.mark.parametrize("template", ["{{ messages[9].content.x }}", "{% for x in 3 %}{% endfor %}", "{{ 1 / 0 }}"])
def test_a_broken_template_is_no_fault_of_the_server(plain: Callable[..., Loaded], template: str) -> None:
    with pytest.raises(InvalidInput, match="chat template"):
        ask(plain(template), HELLO)


def test_templates_run_in_a_sandbox(plain: Callable[..., Loaded], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    template = "{{ messages.__class__.__mro__[-1].__subclasses__() }}{{ cycler.__init__.__globals__.os.mkdir('%s') }}"
    with pytest.raises(InvalidInput):
        ask(plain(template % canary), HELLO)
    assert not canary.exists()


def test_a_seed_is_kept_by_each_of_a_chats_answers(model: Loaded) -> None:
    adapter = model.adapters["text-generation"]
    call = adapter.parse({"messages": HELLO}, convert({"n": 2, "seed": 4, "do_sample": True}, adapter.parameters))
    assert [item.data.sampling.seed for item in adapter.preprocess(call)] == [4, 5]
