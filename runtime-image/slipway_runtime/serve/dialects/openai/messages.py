"""The messages, tools and response format of a chat: from OpenAI's form to that of chat templates."""

from __future__ import annotations

from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.texts import kind_of

_ROLES = ("system", "developer", "user", "assistant", "tool")


def templated(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """(messages as chat templates read them, whether there are images). Raises InvalidInput.

    Fields that are not known are left out rather than refused: clients send back the messages that they were answered
    with, by this server or another.
    """
    if not messages:
        raise InvalidInput("messages", "is empty; give at least one")
    read = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    return read, any(isinstance(message["content"], list) for message in read)


def _message(message: dict[str, Any], at: str) -> dict[str, Any]:
    role = message.get("role")
    if role not in _ROLES:
        found = repr(role[:80]) if isinstance(role, str) else kind_of(role)
        raise InvalidInput(f"{at}.role", f"must be {', '.join(_ROLES[:-1])} or {_ROLES[-1]}, got {found}")
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not (role == "assistant" and calls):
        raise InvalidInput(f"{at}.content", "is missing")
    read: dict[str, Any] = {
        # Templates know no developer: it is what newer models of OpenAI's call the system.
        "role": "system" if role == "developer" else role,
        "content": "" if content is None else _content(content, f"{at}.content"),
    }
    for name in ("name", "tool_call_id"):
        if message.get(name) is not None:
            read[name] = _string(message[name], f"{at}.{name}")
    if calls:
        read["tool_calls"] = _calls(calls, f"{at}.tool_calls")
    return read


def _content(content: object, at: str) -> str | list[dict[str, Any]]:
    """A text, or parts where some are images. Texts alone are joined: templates of text models read no lists."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise InvalidInput(at, f"must be a string or a list of parts, got {kind_of(content)}")
    parts = [_part(part, f"{at}[{i}]") for i, part in enumerate(content)]
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def _part(part: object, at: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise InvalidInput(at, f"must be an object with a type, got {kind_of(part)}")
    match part.get("type"):
        case "text":
            return {"type": "text", "text": _string(part.get("text"), f"{at}.text")}
        case "refusal":
            return {"type": "text", "text": _string(part.get("refusal"), f"{at}.refusal")}
        case "image_url":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            return {"type": "image_url", "image_url": {"url": _string(url, f"{at}.image_url.url")}}
        case other:
            found = repr(other[:80]) if isinstance(other, str) else kind_of(other)
            raise InvalidInput(f"{at}.type", f"must be text or image_url, got {found}")


def _calls(calls: object, at: str) -> list[dict[str, Any]]:
    """Arguments become objects: OpenAI has them as JSON in a string, templates write them as JSON themselves."""
    if not isinstance(calls, list):
        raise InvalidInput(at, f"must be a list, got {kind_of(calls)}")
    read = []
    for i, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise InvalidInput(f"{at}[{i}].function", "must be an object with name and arguments")
        name = _string(function.get("name"), f"{at}[{i}].function.name")
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, str):
            try:
                arguments = orjson.loads(arguments or "{}")
            except orjson.JSONDecodeError:
                raise InvalidInput(f"{at}[{i}].function.arguments", "is not valid JSON") from None
        if not isinstance(arguments, dict):
            raise InvalidInput(f"{at}[{i}].function.arguments", "must be a JSON object")
        one: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
        read.append({"id": call["id"], **one} if isinstance(call.get("id"), str) else one)
    return read


def tools(given: list[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> dict[str, Any]:
    """The parameters `tools` and `tool_choice` (auto, required, or a function's name). Raises InvalidInput."""
    if not given:
        if choice not in (None, "none", "auto"):
            raise InvalidInput("tool_choice", "is given without tools")
        return {}
    names = [_tool_name(tool, f"tools[{i}]") for i, tool in enumerate(given)]
    if choice == "none":
        return {}
    if isinstance(choice, dict):
        function = choice.get("function")
        choice = function.get("name") if isinstance(function, dict) else None
        if choice not in names:
            raise InvalidInput("tool_choice.function.name", f"must be one of {', '.join(names)}")
    if choice not in (None, "auto", "required", *names):
        raise InvalidInput("tool_choice", f"must be none, auto, required, or one of {', '.join(names)}")
    return {"tools": given, "tool_choice": choice or "auto"}


def _tool_name(tool: dict[str, Any], at: str) -> str:
    if tool.get("type", "function") != "function":
        raise InvalidInput(f"{at}.type", "must be function")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise InvalidInput(f"{at}.function", "must be an object with a name and perhaps description and parameters")
    schema = function.get("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise InvalidInput(f"{at}.function.parameters", f"must be a JSON schema, got {kind_of(schema)}")
    return _string(function.get("name"), f"{at}.function.name")


def grammar(response_format: dict[str, Any] | None) -> dict[str, Any]:
    """The parameter `grammar`, as TGI calls it. Raises InvalidInput.

    Beside OpenAI's own forms: {"type": "json_object", "value": schema}, which InferenceClient makes of json_schema,
    and TGI's {"type": "json" or "regex", "value": …}.
    """
    if response_format is None:
        return {}
    kind = response_format.get("type")
    value = response_format.get("value")
    at = "response_format.value"
    match kind:
        case "text":
            return {}
        case "json_object" if value is None:
            value = {"type": "object"}
        case "json_schema":
            named = response_format.get("json_schema")
            at = "response_format.json_schema.schema"
            value = named.get("schema") if isinstance(named, dict) else None
        case "regex":
            return {"grammar": {"type": "regex", "value": _string(value, at)}}
        case "json_object" | "json":
            pass
        case _:
            found = repr(kind[:80]) if isinstance(kind, str) else kind_of(kind)
            raise InvalidInput("response_format.type", f"must be text, json_object or json_schema, got {found}")
    if not isinstance(value, dict):
        raise InvalidInput(at, f"must be a JSON schema, got {kind_of(value)}")
    return {"grammar": {"type": "json", "value": value}}


def _string(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(at, f"must be a string, got {kind_of(value)}")
    return value
