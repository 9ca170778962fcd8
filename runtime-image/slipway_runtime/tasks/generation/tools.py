"""Tools of a chat: their checks, a grammar for a call that must be made, and calls read from an answer.

Read are Hermes' and Qwen's <tool_call>{…}</tool_call>, and answers that are nothing but {"name", "arguments" or
"parameters"} or a list of them, as Llama 3 and Mistral write, perhaps after their marker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.generated import ToolCall
from slipway_runtime.tasks.generation.stopping import beginning
from slipway_runtime.tasks.texts import kind_of

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MARKERS = ("<|python_tag|>", "[TOOL_CALLS]")
_STARTS = ("{", "[", "<|python_tag|>")
_JSON = json.JSONDecoder()


def checked_tools(tools: object, field: str) -> list[dict[str, Any]]:
    """[{"type": "function", "function": {"name", "description", "parameters"}}]. Raises InvalidInput."""
    if not isinstance(tools, list):
        raise InvalidInput(field, f"must be a list of tools, got {kind_of(tools)}")
    if len(tools) > MAX_TOOLS:
        raise InvalidInput(field, f"has {len(tools)} entries, at most {MAX_TOOLS} are allowed")
    names: set[str] = set()
    for i, tool in enumerate(tools):
        place = f"{field}[{i}]"
        if not isinstance(tool, dict) or tool.get("type", "function") != "function":
            raise InvalidInput(place, 'must be an object {"type": "function", "function": {…}}')
        function = tool.get("function")
        if not isinstance(function, dict):
            raise InvalidInput(f"{place}.function", "must be an object with name, description and parameters")
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(f"{place}.function.name", "must be 1 to 64 letters, digits, '_', '.' or '-'")
        if name in names:
            raise InvalidInput(f"{place}.function.name", f"is {name!r} a second time")
        names.add(name)
        if not isinstance(function.get("parameters") or {}, dict):
            raise InvalidInput(f"{place}.function.parameters", "must be a JSON schema, an object")
    return tools


def chosen_tools(choice: object, tools: Sequence[dict[str, Any]], field: str) -> tuple[list[dict[str, Any]], bool]:
    """(the tools that may be called, must one be called). `choice`: auto, none, required, a tool's name, or
    {"function": {"name"}}. Raises InvalidInput."""
    if choice is None or choice == "auto":
        return list(tools), False
    if choice == "none":
        return [], False
    name = choice
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
    found = [tool for tool in tools if choice == "required" or tool["function"]["name"] == name]
    if not found:
        known = ", ".join(tool["function"]["name"] for tool in tools) or "no tools were given"
        raise InvalidInput(field, f"must be auto, none, required or one of the tools: {known}")
    return found, True


def call_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a call of one of them looks like, as JSON schema."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "name": {"const": tool["function"]["name"]},
                    "arguments": tool["function"].get("parameters") or {"type": "object"},
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for tool in tools
        ]
    }


@dataclass(frozen=True)
class Calls:
    """Finds calls of the tools of these names; anything else is text."""

    names: frozenset[str]

    def releasable(self, text: str) -> int:
        """How many characters of an unfinished answer are certain to be no call."""
        start = text.lstrip()
        if not start or start.startswith(_STARTS) or any(marker.startswith(start) for marker in _MARKERS):
            return 0
        found = text.find(_OPEN)
        return found if found >= 0 else len(text) - beginning(text, _OPEN)

    def read(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text without the calls, and the calls."""
        if _OPEN in text:
            before, *parts = text.split(_OPEN)
            calls: list[ToolCall] = []
            rest = [before if before.strip() else ""]
            for part in parts:
                body, _, after = part.partition(_CLOSE)
                found = self._all(body)
                if not found:
                    return text, ()
                calls += found
                rest.append(after if after.strip() else "")
            return "".join(rest), tuple(calls)
        bare = text.strip()
        for marker in _MARKERS:
            bare = bare.removeprefix(marker).lstrip()
        calls = self._all(bare)
        return ("", tuple(calls)) if calls else (text, ())

    def _all(self, text: str) -> list[ToolCall]:
        """Calls in a text that is nothing else, else none."""
        calls: list[ToolCall] = []
        at, text = 0, text.strip()
        while at < len(text):
            try:
                value, at = _JSON.raw_decode(text, at)
            except (ValueError, RecursionError):
                return []
            for one in value if isinstance(value, list) else [value]:
                call = self._call(one)
                if call is None:
                    return []
                calls.append(call)
            while at < len(text) and text[at] in " \t\r\n;,":
                at += 1
        return calls

    def _call(self, value: Any) -> ToolCall | None:
        if not isinstance(value, dict):
            return None
        if isinstance(value.get("function"), dict):  # OpenAI's own nesting
            value = value["function"]
        arguments = value.get("arguments", value.get("parameters", {}))
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                return None
        if value.get("name") not in self.names or not isinstance(arguments, dict):
            return None
        return ToolCall(value["name"], arguments)
