"""Chats: messages and tools, checked, and written in the model's own format by its tokenizer's chat template.

transformers runs templates in jinja's sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits
from slipway_runtime.tasks.generation.tools import checked_tools, chosen_tools
from slipway_runtime.tasks.texts import checked_list, kind_of

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_PARTS = 1024  # of one message
MAX_CALLS = 128  # of tools, in one message
_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
_CHAT_FIELDS = ("messages", "tools", "tool_choice", "tool_prompt")
_TOOL_PROMPT = (
    "These functions can be called. Where one helps to answer, reply with nothing but a JSON object "
    '{"name": the function, "arguments": an object with its arguments}.'
)


Content = Callable[[object, str], Any]
"""(a message's content, its field) → what the template gets. Raises InvalidInput."""


@dataclass(frozen=True)
class Chat:
    """A checked conversation."""

    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]] = ()
    """Those that may be called."""
    must_call: bool = False
    tool_prompt: str = _TOOL_PROMPT
    field: str = "inputs"
    """How messages name it."""


def is_chat(inputs: object) -> bool:
    """Whether inputs are a chat: an object with messages, or the messages themselves."""
    if isinstance(inputs, dict):
        return "messages" in inputs
    return isinstance(inputs, list) and bool(inputs) and all(isinstance(one, dict) for one in inputs)


def checked_chat(inputs: Any, limits: Limits, content: Content | None = None) -> Chat:
    """Raises InvalidInput. `content`: reads a message's content for a template that takes more than texts."""
    content = content or _content
    if isinstance(inputs, list):
        return Chat(_messages(inputs, "inputs", limits, content))
    for name in inputs:
        if name not in _CHAT_FIELDS:
            raise InvalidInput(f"inputs.{name[:80]}", f"is unknown; a chat has {', '.join(_CHAT_FIELDS)}")
    tools = checked_tools(inputs.get("tools") or [], "inputs.tools")
    chosen, must = chosen_tools(inputs.get("tool_choice"), tools, "inputs.tool_choice")
    prompt = inputs.get("tool_prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise InvalidInput("inputs.tool_prompt", f"must be a string, got {kind_of(prompt)}")
    messages = _messages(inputs["messages"], "inputs.messages", limits, content)
    return Chat(messages, chosen, must, prompt or _TOOL_PROMPT, "inputs.messages")


def render(chat: Chat, tokenizer: Any) -> str:
    """The text that the model continues. Raises InvalidInput where its template cannot write this chat."""
    template = _template(tokenizer, bool(chat.tools), chat.field)
    messages, tools = list(chat.messages), list(chat.tools) or None
    if "developer" not in template:
        messages = [{**one, "role": "system"} if one["role"] == "developer" else one for one in messages]
    if tools and "tools" not in template:
        messages, tools = _with_tools(messages, tools, chat.tool_prompt), None
    try:
        text: str = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        why = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
        raise InvalidInput(chat.field, f"the model's chat template refuses this conversation: {why}") from None
    except Exception:
        raise InvalidInput(chat.field, "the model's chat template cannot write this conversation") from None
    return text


def _template(tokenizer: Any, tools: bool, field: str) -> str:
    """The one that transformers will choose."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("tool_use" if tools and "tool_use" in template else "default")
    if not isinstance(template, str):
        raise InvalidInput(
            field, "is a chat, and this model has no chat template; send the whole prompt as one string in inputs"
        )
    return template


def _with_tools(messages: list[dict[str, Any]], tools: Any, prompt: str) -> list[dict[str, Any]]:
    """For templates that know no tools: they are told in the last message of the user, as TGI does."""
    told = f"\n---\n{prompt}\n{json.dumps([tool['function'] for tool in tools])}"
    last = max((i for i, one in enumerate(messages) if one["role"] == "user"), default=None)
    if last is None:
        return [{"role": "user", "content": _added(type(messages[0]["content"])(), told)}, *messages]
    return [{**one, "content": _added(one["content"], told)} if i == last else one for i, one in enumerate(messages)]


def _added(content: Any, text: str) -> Any:
    return content + text if isinstance(content, str) else [*content, {"type": "text", "text": text}]


def _messages(value: object, field: str, limits: Limits, content: Content) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise InvalidInput(field, f"must be a list of messages, got {kind_of(value)}")
    return [_message(one, f"{field}[{i}]", content) for i, one in enumerate(checked_list(value, field, limits))]


def _message(value: object, field: str, content: Content) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(field, f'must be an object {{"role": …, "content": …}}, got {kind_of(value)}')
    role = value.get("role")
    if role not in ROLES:
        got = f"{role[:80]!r}" if isinstance(role, str) else kind_of(role)
        raise InvalidInput(f"{field}.role", f"must be one of {', '.join(ROLES)}; got {got}")
    for name, given in value.items():
        if name not in _FIELDS and given:  # what a server answered comes back with empty fields
            raise InvalidInput(f"{field}.{name[:80]}", f"is unknown; a message has {', '.join(_FIELDS)}")
    message = {name: value[name] for name in _FIELDS if value.get(name) is not None}
    calls = message.get("tool_calls")
    if calls is not None:
        if role != "assistant":
            raise InvalidInput(f"{field}.tool_calls", f"is for the assistant's messages, this is of {role}")
        message["tool_calls"] = _calls(calls, f"{field}.tool_calls")
    if "content" not in message and not message.get("tool_calls"):
        raise InvalidInput(f"{field}.content", "is missing; give a string")
    message["content"] = content(message.get("content", ""), f"{field}.content")
    for name in ("name", "tool_call_id", "reasoning_content"):
        if name in message and not isinstance(message[name], str):
            raise InvalidInput(f"{field}.{name}", f"must be a string, got {kind_of(message[name])}")
    return message


def _content(value: object, field: str) -> str:
    """A string, or parts that are texts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidInput(field, f"must be a string or a list of parts, got {kind_of(value)}")
    if len(value) > MAX_PARTS:
        raise InvalidInput(field, f"has {len(value)} parts, at most {MAX_PARTS} are allowed; join them")
    texts = []
    for i, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            got = f"{kind[:80]!r}" if isinstance(kind, str) else kind_of(part)
            raise InvalidInput(f"{field}[{i}]", f"must be a part of type text: this model reads only text; got {got}")
        if not isinstance(part.get("text"), str):
            raise InvalidInput(f"{field}[{i}].text", f"must be a string, got {kind_of(part.get('text'))}")
        texts.append(part["text"])
    return "\n".join(texts)


def _calls(value: object, field: str) -> list[dict[str, Any]]:
    """With arguments as objects, which templates expect; OpenAI's clients send them as JSON in a string."""
    if not isinstance(value, list):
        raise InvalidInput(field, f"must be a list, got {kind_of(value)}")
    if len(value) > MAX_CALLS:
        raise InvalidInput(field, f"has {len(value)} entries, at most {MAX_CALLS} are allowed")
    calls = []
    for i, one in enumerate(value):
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidInput(f"{field}[{i}]", 'must be an object {"type": "function", "function": {name, arguments}}')
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                raise InvalidInput(f"{field}[{i}].function.arguments", "is no JSON object") from None
        if not isinstance(arguments, dict | None):
            raise InvalidInput(f"{field}[{i}].function.arguments", "is no JSON object")
        call = {"type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}
        calls.append({"id": one["id"], **call} if isinstance(one.get("id"), str) else call)
    return calls
