"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import Exchange, Reply, sse
from slipway_runtime.serve.dialects.bodies import json_object, struct
from slipway_runtime.serve.dialects.openai import Context, OpenAI
from slipway_runtime.serve.dialects.openai.answers import DONE, chat_logprobs, finish_reason, usage
from slipway_runtime.serve.dialects.openai.requests import CHAT_FIELDS, ChatRequest, chat_of, parameters, told
from slipway_runtime.serve.dialects.openai.response_format import grammar
from slipway_runtime.serve.inference.service import Answer, Part, TaskRequest
from slipway_runtime.tasks.generated import Generated, ToolCall

_SHAPE = '{"model": …, "messages": [{"role": "user", "content": …}]}'
_READING_FIRST = ("text-generation", "image-text-to-text")
_SEEING_FIRST = ("image-text-to-text", "text-generation")
# text_generation's client, which sends this name, cannot read a delta without a role. Others append what comes twice.
_ROLE_EVERYWHERE = "tgi"


class ChatCompletions(OpenAI):
    """The dialect of this route."""

    name = "openai-chat"

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:  # noqa: ARG002
        asked = struct(json_object(body, headers, _SHAPE), ChatRequest)
        request = _request(asked)
        chat = _Chat(self._context, asked)
        return Exchange([request], chat.reply, chat.events if asked.stream else None)


def _request(asked: ChatRequest) -> TaskRequest:
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise InvalidInput("max_tokens", "is given beside max_completion_tokens; send one of them")
    if asked.top_logprobs and not asked.logprobs:
        raise InvalidInput("top_logprobs", "needs logprobs to be true")
    form, at = grammar(asked.response_format)
    most = asked.max_completion_tokens or asked.max_tokens
    found = {"max_new_tokens": most, "top_n_tokens": asked.top_logprobs or None, **parameters(asked), **form}
    names = told(
        max_new_tokens="max_tokens" if asked.max_tokens else "max_completion_tokens",
        top_n_tokens="top_logprobs",
        **({"grammar.value": at} if at else {}),
        grammar="response_format",
    )
    return TaskRequest(
        chat_of(asked),
        {name: value for name, value in found.items() if value is not None},
        tasks=_SEEING_FIRST if _has_images(asked.messages) else _READING_FIRST,
        model=asked.model,
        cache_salt=asked.cache_salt or "",
        fields={**CHAT_FIELDS, **names},
    )


def _has_images(messages: list[Any]) -> bool:
    """Whether a part of a message is none of text; the task checks what it is."""
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") != "text" for part in parts)


class _Chat:
    """One answer, whole or in chunks."""

    def __init__(self, context: Context, asked: ChatRequest) -> None:
        self._context = context
        self._asked = asked

    def reply(self, answers: Sequence[Answer]) -> Reply:
        found: list[Generated] = answers[0].value[0]
        head = self._context.head("chatcmpl", "chat.completion", self._asked.model)
        choices = [
            {
                "index": i,
                "message": self._message(one),
                "logprobs": self._logprobs(one),
                "finish_reason": finish_reason(one),
            }
            for i, one in enumerate(found)
        ]
        return Reply(orjson.dumps({**head, "choices": choices, "usage": usage([found])}))

    async def events(self, parts: AsyncIterator[Part | Answer]) -> AsyncGenerator[bytes, None]:
        """Chunks of text as it comes, which has no calls of tools in it; at the end those, each whole."""
        head = self._context.head("chatcmpl", "chat.completion.chunk", self._asked.model)
        if self._asked.include_usage:
            head["usage"] = None
        begun: set[int] = set()

        def chunk(index: int, logprobs: Any = None, finish: str | None = None, **delta: Any) -> bytes:
            role = {"role": "assistant"} if index not in begun or self._asked.model == _ROLE_EVERYWHERE else {}
            begun.add(index)
            choice = {
                "index": index,
                "delta": {**role, "tool_calls": None, **delta},
                "logprobs": logprobs,
                "finish_reason": finish,
            }
            return sse.event(orjson.dumps({**head, "choices": [choice]}))

        async for part in parts:
            if isinstance(part, Part):
                if part.value.text or self._asked.logprobs:
                    logprobs = chat_logprobs([part.value]) if self._asked.logprobs else None
                    yield chunk(part.index, logprobs, content=part.value.text)
                continue
            found: list[Generated] = part.value[0]
            for i, one in enumerate(found):
                calls = self._calls(one)
                if calls:
                    yield chunk(i, tool_calls=[{"index": n, **call} for n, call in enumerate(calls)])
                yield chunk(i, finish=finish_reason(one))
            if self._asked.include_usage:
                yield sse.event(orjson.dumps({**head, "choices": [], "usage": usage([found])}))
            yield DONE

    def _message(self, one: Generated) -> dict[str, Any]:
        calls = self._calls(one)
        message = {"role": "assistant", "content": one.text or None if calls else one.text, "refusal": None}
        return {**message, "tool_calls": calls} if calls else message

    def _calls(self, one: Generated) -> list[dict[str, Any]]:
        most = None if self._asked.parallel_tool_calls else 1
        return [self._call(call) for call in one.tool_calls[:most]]

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments = orjson.dumps(call.arguments).decode()
        return {
            "id": f"call_{self._context.new_id()}",
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }

    def _logprobs(self, one: Generated) -> Any:
        return chat_logprobs(one.tokens) if self._asked.logprobs else None
