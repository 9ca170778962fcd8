"""Answers as an adapter that writes text would give them, for tests of how dialects write them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from slipway_runtime.serve.dialects import Exchange
from slipway_runtime.serve.inference.service import Answer, Part
from slipway_runtime.tasks.generated import Generated, Token, ToolCall


def token(i: int, text: str, *, last: bool = False, top: tuple[Token, ...] = ()) -> Token:
    return Token(i, text, -0.5 * i, top=top, last=last, piece=text)


def generated(
    *texts: str, reason: Any = "length", calls: tuple[ToolCall, ...] = (), top: bool = False, **more: Any
) -> Generated:
    """One answer with a token per text, whose ids count from 1. `top`: each with itself as the likeliest."""
    tokens = tuple(
        token(i, text, last=i == len(texts), top=(Token(i, text, -0.1, piece=text),) if top else ())
        for i, text in enumerate(texts, start=1)
    )
    content = more.pop("text", "".join(texts))
    return Generated(content, reason, tokens, more.pop("prompt_tokens", 3), tool_calls=calls, **more)


def answer(*inputs: Sequence[Generated], task: str = "text-generation") -> Answer:
    """The answer to as many inputs, each with its list of answers."""
    return Answer([list(each) for each in inputs], task, 3, 0.001, 0.002, 0.25, "cpu")


def events(exchange: Exchange, whole: Answer) -> list[Any]:
    """The data of a stream's events: all tokens of `whole` in order, then the answer. [DONE] as a string."""
    assert exchange.events is not None
    render = exchange.events

    async def parts() -> AsyncIterator[Part | Answer]:
        flat = [one for each in whole.value for one in each]
        for i, one in enumerate(flat):
            for each in one.tokens:
                yield Part(i, each)
        yield whole

    async def collect() -> bytes:
        return b"".join([event async for event in render(parts())])

    lines = asyncio.run(collect()).decode().split("\n\n")[:-1]
    data = [line.removeprefix("data: ") for line in lines]
    return [one if one == "[DONE]" else orjson.loads(one) for one in data]
