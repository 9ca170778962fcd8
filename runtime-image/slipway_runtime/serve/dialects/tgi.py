"""text-generation-inference's own routes: POST /generate answers with one object, POST /generate_stream with events.

Its client posts to `/` instead, which huggingface.py answers in the same words. LoRA adapters go by the parameter
adapter_id. inputs may be a chat: {messages, tools, …}, or its messages alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import orjson

from slipway_runtime.errors import InferenceFailed, InvalidInput, RequestError
from slipway_runtime.serve.dialects import Dialect, Exchange, Reply, generation
from slipway_runtime.serve.dialects.bodies import json_object, struct
from slipway_runtime.serve.dialects.generation import Wanted
from slipway_runtime.serve.inference.service import Answer, TaskRequest

_SHAPE = '{"inputs": …, "parameters": {…}}'
TASKS = ("text-generation", "image-text-to-text")


class GenerateRequest(msgspec.Struct, kw_only=True):
    """The body of both routes."""

    inputs: str | list[Any] | dict[str, Any]
    parameters: dict[str, Any] | None = None
    stream: bool | None = None


class TextGenerationInference(Dialect):
    """The dialect; `stream` as the route has it."""

    name = "tgi"
    statuses: ClassVar = {InferenceFailed: 424}

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:  # noqa: ARG002
        asked = struct(json_object(body, headers, _SHAPE), GenerateRequest)
        if asked.stream is not None and asked.stream is not self._stream:
            raise InvalidInput("stream", "is decided by the route: /generate has none, /generate_stream is one")
        parameters = dict(asked.parameters or {})
        request = TaskRequest(asked.inputs, parameters, tasks=TASKS, model=generation.adapter_of(parameters))
        messages = generation.messages_of(asked.inputs)
        if isinstance(asked.inputs, list) and messages is None:
            raise InvalidInput("inputs", "must be one text, or the messages of a chat")
        wanted = Wanted.of(parameters, full_text=False, messages=messages)

        def reply(answers: Sequence[Answer]) -> Reply:
            found = answers[0].value[0]
            content = generation.answers(found, wanted)[0]
            return Reply(orjson.dumps(content), headers=generation.headers(answers[0], request.inputs))

        if not self._stream:
            return Exchange([request], reply)
        generation.refuse_in_stream(parameters)
        return Exchange([request], reply, lambda parts: generation.events(parts, wanted))

    def render_error(self, error: RequestError) -> bytes:
        return orjson.dumps({"error": error.message, "error_type": error.kind})
