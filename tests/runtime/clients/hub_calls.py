"""Calls with huggingface_hub and text_generation, sync and async; runs in both environments.

As a program, in the older clients' environment: for each line "URL TASK" of its input it prints one line, a JSON
object from the client's name to what it made of the answer, or to {"error": …}.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from tests.runtime.clients.rows import ROWS


def method_of(task: str) -> str:
    return task.replace("-", "_")


def hub(url: str, task: str) -> Any:
    from huggingface_hub import InferenceClient

    client = InferenceClient(model=url)
    try:
        return plain(getattr(client, method_of(task))(**ROWS[task].hub or {}))
    finally:
        getattr(client, "close", lambda: None)()  # newer ones have it


def hub_async(url: str, task: str) -> Any:
    from huggingface_hub import AsyncInferenceClient

    async def call() -> Any:
        client = AsyncInferenceClient(model=url)
        try:
            return await getattr(client, method_of(task))(**ROWS[task].hub or {})
        finally:
            close: Any = client.close  # untyped
            await close()

    return plain(asyncio.run(call()))


def text_generation(url: str, _: str) -> Any:
    """The text of a call, which a stream must give as well."""
    client = importlib.import_module("text_generation").Client(url, timeout=60)
    answer = client.generate("the film was", max_new_tokens=8)
    streamed = list(client.generate_stream("the film was", max_new_tokens=8))
    return _agreed(answer, streamed)


def text_generation_async(url: str, _: str) -> Any:
    async def call() -> Any:
        client = importlib.import_module("text_generation").AsyncClient(url, timeout=60)
        answer = await client.generate("the film was", max_new_tokens=8)
        return _agreed(answer, [event async for event in client.generate_stream("the film was", max_new_tokens=8)])

    return asyncio.run(call())


def _agreed(answer: Any, streamed: list[Any]) -> str:
    text = str(answer.generated_text)
    assert streamed[-1].generated_text == text
    assert [event.token.id for event in streamed] == [token.id for token in answer.details.tokens]
    assert answer.details.generated_tokens == len(streamed)
    return text


def plain(value: Any) -> Any:
    """Objects of clients → JSON: dataclasses, arrays, images (their size), bytes (length and digest)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "size") and hasattr(value, "mode"):
        return {"size": list(value.size)}
    return value


def older(url: str, task: str) -> dict[str, Any]:
    """What each client of the older environment makes of a task."""
    row = ROWS[task]
    wanted: dict[str, Callable[[str, str], Any]] = {}
    if row.hub is not None:
        wanted |= {"hub-0.36": hub, "hub-0.36-async": hub_async}
    if row.text_generation:
        wanted |= {"text_generation": text_generation, "text_generation-async": text_generation_async}
    results = {}
    for name, call in wanted.items():
        try:
            results[name] = call(url, task)
        except Exception as error:
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    return results


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(older(*line.split())), flush=True)


if __name__ == "__main__":
    main()
