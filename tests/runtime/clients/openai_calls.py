"""Calls with the openai client, each written once and made with both kinds of client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from openai import AsyncOpenAI, OpenAI

from tests.runtime.clients.rows import CHAT, DATA_URI, WAV

IMAGE_CHAT = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "a cat"}, {"type": "image_url", "image_url": {"url": DATA_URI}}],
    }
]
TEXT = "a great film"


async def embeddings(client: Any, model: str) -> Any:
    return (await client.embeddings.create(model=model, input=TEXT)).data[0].embedding


async def embeddings_float(client: Any, model: str) -> Any:
    return (await client.embeddings.create(model=model, input=[TEXT], encoding_format="float")).data[0].embedding


async def completion(client: Any, model: str) -> Any:
    answer = await client.completions.create(model=model, prompt="the film was", max_tokens=8, temperature=0)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    return answer.choices[0].text


async def completion_stream(client: Any, model: str) -> Any:
    stream = await client.completions.create(
        model=model, prompt="the film was", max_tokens=8, temperature=0, stream=True
    )
    return "".join([chunk.choices[0].text async for chunk in _each(stream) if chunk.choices])


async def chat(client: Any, model: str) -> Any:
    return await _chat(client, model, CHAT)


async def chat_stream(client: Any, model: str) -> Any:
    return await _chat_stream(client, model, CHAT)


async def chat_image(client: Any, model: str) -> Any:
    return await _chat(client, model, IMAGE_CHAT)


async def chat_image_stream(client: Any, model: str) -> Any:
    return await _chat_stream(client, model, IMAGE_CHAT)


async def transcription(client: Any, model: str) -> Any:
    return (await client.audio.transcriptions.create(model=model, file=("a.wav", WAV))).text


async def translation(client: Any, model: str) -> Any:
    return (await client.audio.translations.create(model=model, file=("a.wav", WAV))).text


async def _chat(client: Any, model: str, messages: list[Any]) -> Any:
    answer = await client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0)
    assert answer.usage.completion_tokens <= 8
    assert answer.choices[0].finish_reason in ("stop", "length")
    return answer.choices[0].message.content


async def _chat_stream(client: Any, model: str, messages: list[Any]) -> Any:
    stream = await client.chat.completions.create(
        model=model, messages=messages, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in _each(stream)]
    assert chunks[-1].usage.total_tokens > 0
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


CALLS: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    call.__name__: call
    for call in (
        embeddings, embeddings_float, completion, completion_stream, chat, chat_stream, chat_image, chat_image_stream,
        transcription, translation,
    )
}  # fmt: skip


def call(url: str, model: str, name: str) -> Any:
    """With the sync client: the same code, each of its calls wrapped."""
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        return asyncio.run(_run(CALLS[name](_Awaitable(client), model)))


def call_async(url: str, model: str, name: str) -> Any:
    async def run() -> Any:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            return await CALLS[name](client, model)

    return asyncio.run(run())


async def _run(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _each(stream: Any) -> Any:
    if hasattr(stream, "__aiter__"):
        async for chunk in stream:
            yield chunk
    else:
        for chunk in stream:
            yield chunk


class _Awaitable:
    """A sync client whose methods are awaited, so that each call above is written once."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return _Awaitable(found)

        async def awaited(**arguments: Any) -> Any:
            return found(**arguments)

        return awaited
