"""Hugging Face's inference format: {"inputs": …, "parameters": {…}} to `/`, as InferenceClient and the Hub's own API
have it.

Parameters may stand at the root as well: InferenceClient sends those of feature-extraction there. `options` is the
old API's; of it only wait_for_model means something here. `error` is always a string: an object loses its text in
clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput, ModelLoading, RequestError, UnsupportedEncoding
from slipway_runtime.serve.dialects import Dialect, Exchange, Reply
from slipway_runtime.serve.service import Answer, TaskRequest
from slipway_runtime.tasks.adapter import Media

# Accepted from old clients and without meaning on a dedicated endpoint.
_IDLE_OPTIONS = ("use_cache", "use_gpu", "compression")
_JSON_TYPES = (
    "",
    "application/json",
    "text/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
)


class HuggingFace(Dialect):
    """The dialect."""

    name = "huggingface"

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:
        data = _json_object(body, headers)
        if "inputs" not in data:
            raise InvalidInput("inputs", 'is missing; send {"inputs": …, "parameters": {…}}')
        parameters = data.pop("parameters", None)
        options = data.pop("options", None)
        inputs = data.pop("inputs")
        if parameters is not None and not isinstance(parameters, dict):
            raise InvalidInput("parameters", "must be an object")
        wait = headers.get("x-wait-for-model", "").lower() in ("1", "true") or _wait(options)
        request = TaskRequest(
            inputs=inputs,
            parameters=_merged(parameters or {}, data),
            tasks=(path["task"],) if "task" in path else (),
            model=path.get("model"),
            wait_for_model=wait,
        )
        return Exchange([request], _reply)

    def render_error(self, error: RequestError) -> bytes:
        content: dict[str, Any] = {"error": error.message, "error_type": error.kind}
        if isinstance(error, ModelLoading):
            content["estimated_time"] = error.estimated_time
        return orjson.dumps(content)


def _reply(answers: Sequence[Answer]) -> Reply:
    value = answers[0].value
    if isinstance(value, Media):
        return Reply(value.content, value.type)
    return Reply(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def _json_object(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The body as an object. A missing Content-Type, a charset, or curl's default type are all taken as JSON."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _JSON_TYPES and not media.endswith("+json"):
        raise UnsupportedEncoding(f"Content-Type {media[:80]!r} is not read here; send application/json")
    if not body.strip():
        raise InvalidInput("", 'the body is empty; send {"inputs": …}')
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            "", f"the body is not valid JSON (line {error.lineno}, column {error.colno}; NaN and Infinity are not JSON)"
        ) from None
    if not isinstance(data, dict):
        raise InvalidInput("", 'the body must be a JSON object: {"inputs": …}')
    return data


def _merged(parameters: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    both = sorted(parameters.keys() & root.keys())
    if both:
        raise InvalidInput(f"parameters.{both[0]}", f"is given twice: also as {both[0]} beside inputs")
    return {**parameters, **root}


def _wait(options: object) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidInput("options", "must be an object")
    for name in options:
        if name != "wait_for_model" and name not in _IDLE_OPTIONS:
            raise InvalidInput(
                f"options.{name[:80]}", f"unknown option; allowed are wait_for_model, {', '.join(_IDLE_OPTIONS)}"
            )
    wait = options.get("wait_for_model", False)
    if not isinstance(wait, bool):
        raise InvalidInput("options.wait_for_model", "must be true or false")
    return wait
