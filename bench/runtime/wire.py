"""Requests of the load client, and what their answers say. Pure but for the draw of inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.runtime.inputs import NEW_TOKENS, Source


class Wire(NamedTuple):
    """How a server is asked."""

    path: str = "/"
    chat: bool = False
    """OpenAI's chat, streamed; else Hugging Face's inputs."""


class Request(NamedTuple):
    """One request, ready to be sent."""

    texts: list[str]
    raw: bytes


def requests(source: Source, wire: Wire, at_once: int) -> Iterator[Request]:
    """For ever; `at_once` texts in each, a list where there are several."""
    while True:
        texts = source.some(at_once)
        yield Request(texts, raw(wire, body(texts, wire)))


def body(texts: list[str], wire: Wire) -> dict[str, Any]:
    if wire.chat:
        chat = [{"role": "user", "content": texts[0]}]
        return {"messages": chat, "max_tokens": NEW_TOKENS, "temperature": 0, "stream": True}
    return {"inputs": texts[0] if len(texts) == 1 else texts}


def raw(wire: Wire, content: dict[str, Any]) -> bytes:
    data = json.dumps(content).encode()
    head = (
        f"POST {wire.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    )
    return head.encode() + b"\r\n" + data


def pairs(texts: list[str], answer: bytes, wire: Wire) -> list[tuple[str, Any]]:
    """Each text with what was answered, as the direct forward's `check` takes it."""
    if wire.chat:
        return [(texts[0], chat_text(answer))]
    told = json.loads(answer)
    if isinstance(told, list) and told and isinstance(told[0], dict) and "generated_text" in told[0]:
        told = told[0]["generated_text"]
    return [(texts[0], told)] if len(texts) == 1 else [(text, _of(told[i])) for i, text in enumerate(texts)]


def _of(one: Any) -> Any:
    """A text's part of an answer for several, as if it had been asked alone."""
    return [one] if isinstance(one[0], dict) else one


def chat_text(events: bytes) -> str:
    """The text of a stream of OpenAI's events. Raises ValueError when it does not end as it should."""
    parts, finish = [], None
    for line in events.decode().splitlines():
        if not line.startswith("data:") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data:"))
        if "error" in event:
            raise ValueError(f"the stream ended with an error: {event['error']}")
        for choice in event["choices"]:
            parts.append(choice["delta"].get("content") or "")
            finish = choice.get("finish_reason") or finish
    if finish != "length":
        raise ValueError(f"the stream ended with {finish}, not with all of its tokens")
    return "".join(parts)
