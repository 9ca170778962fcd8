"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import Exchange, Reply, sse
from slipway_runtime.serve.dialects.bodies import json_object, struct
from slipway_runtime.serve.dialects.openai import Context, OpenAI
from slipway_runtime.serve.dialects.openai.answers import DONE, completion_logprobs, finish_reason, usage
from slipway_runtime.serve.dialects.openai.requests import CompletionRequest, parameters, prompts, told
from slipway_runtime.serve.inference.service import Answer, Part, TaskRequest
from slipway_runtime.tasks.generated import Generated

_SHAPE = '{"model": …, "prompt": …}'
_DEFAULT_TOKENS = 16  # OpenAI's own
_TASKS = ("text-generation", "image-text-to-text")


class Completions(OpenAI):
    """The dialect of this route."""

    name = "openai-completions"

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:  # noqa: ARG002
        asked = struct(json_object(body, headers, _SHAPE), CompletionRequest)
        answer = _Completion(self._context, asked)
        return Exchange([_request(asked)], answer.reply, answer.events if asked.stream else None)


def _request(asked: CompletionRequest) -> TaskRequest:
    if asked.suffix:
        raise InvalidInput("suffix", "is not supported; put what is to follow into the prompt")
    if asked.stream and (asked.best_of or 1) > asked.n:
        raise InvalidInput("best_of", "cannot be asked of a stream: the best are known only at the end")
    if asked.stream and asked.echo:
        raise InvalidInput("echo", "cannot be asked of a stream; leave one of them out")
    found = {
        **parameters(asked),
        "max_new_tokens": asked.max_tokens or _DEFAULT_TOKENS,
        **({"n": asked.n, "best_of": asked.best_of} if asked.best_of else {}),
        "top_n_tokens": asked.logprobs or None,
        "decoder_input_details": True if asked.echo and asked.logprobs is not None else None,
    }
    return TaskRequest(
        prompts(asked.prompt, "prompt"),
        {name: value for name, value in found.items() if value is not None},
        tasks=_TASKS,
        model=asked.model,
        cache_salt=asked.cache_salt or "",
        fields={"inputs": "prompt", **told(max_new_tokens="max_tokens", top_n_tokens="logprobs")},
    )


class _Completion:
    """One answer, whole or in chunks."""

    def __init__(self, context: Context, asked: CompletionRequest) -> None:
        self._context = context
        self._asked = asked

    def reply(self, answers: Sequence[Answer]) -> Reply:
        found: list[list[Generated]] = answers[0].value
        choices = [
            {"index": i, "text": self._text(one), "logprobs": self._logprobs(one), "finish_reason": finish_reason(one)}
            for i, one in enumerate(one for each in found for one in each)
        ]
        head = self._context.head("cmpl", "text_completion", self._asked.model)
        return Reply(orjson.dumps({**head, "choices": choices, "usage": usage(found)}))

    async def events(self, parts: AsyncIterator[Part | Answer]) -> AsyncGenerator[bytes, None]:
        """Chunks of text, then one with why it ended."""
        head = self._context.head("cmpl", "text_completion", self._asked.model)
        if self._asked.include_usage:
            head["usage"] = None
        offsets: dict[int, int] = {}

        def chunk(index: int, text: str, logprobs: Any, finish: str | None) -> bytes:
            choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
            return sse.event(orjson.dumps({**head, "choices": [choice]}))

        async for part in parts:
            if isinstance(part, Part):
                logprobs = None
                if self._asked.logprobs is not None:
                    logprobs = completion_logprobs([part.value], offsets.get(part.index, 0))
                    offsets[part.index] = offsets.get(part.index, 0) + len(part.value.text)
                if part.value.text or logprobs is not None:
                    yield chunk(part.index, part.value.text, logprobs, None)
                continue
            found: list[list[Generated]] = part.value
            for i, one in enumerate(one for each in found for one in each):
                yield chunk(i, "", None, finish_reason(one))
            if self._asked.include_usage:
                yield sse.event(orjson.dumps({**head, "choices": [], "usage": usage(found)}))
            yield DONE

    def _text(self, one: Generated) -> str:
        return one.prompt + one.text if self._asked.echo else one.text

    def _logprobs(self, one: Generated) -> dict[str, Any] | None:
        if self._asked.logprobs is None:
            return None
        return completion_logprobs((*one.prefill, *one.tokens) if self._asked.echo else one.tokens)
