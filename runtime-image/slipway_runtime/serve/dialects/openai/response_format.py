"""The form that a chat's answer must have."""

from __future__ import annotations

from typing import Any

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.kinds import kind_of


def grammar(response_format: dict[str, Any] | None) -> tuple[dict[str, Any], str]:
    """(the parameter `grammar`, as TGI calls it; where its value comes from). Raises InvalidInput.

    Beside OpenAI's own forms: {"type": "json_object", "value": schema}, which InferenceClient makes of json_schema,
    and TGI's {"type": "json" or "regex", "value": …}.
    """
    if response_format is None:
        return {}, ""
    kind, value, at = response_format.get("type"), response_format.get("value"), "response_format.value"
    match kind:
        case "text":
            return {}, ""
        case "regex":
            return {"grammar": {"type": "regex", "value": value}}, at
        case "json_schema":
            named = response_format.get("json_schema")
            value, at = (named.get("schema") if isinstance(named, dict) else None), "response_format.json_schema.schema"
        case "json_object" if value is None:
            value = {"type": "object"}
        case "json_object" | "json":
            pass
        case _:
            found = repr(kind[:80]) if isinstance(kind, str) else kind_of(kind)
            raise InvalidInput("response_format.type", f"must be text, json_object or json_schema, got {found}")
    if not isinstance(value, dict):
        raise InvalidInput(at, f"must be a JSON schema, got {kind_of(value)}")
    return {"grammar": {"type": "json", "value": value}}, at
