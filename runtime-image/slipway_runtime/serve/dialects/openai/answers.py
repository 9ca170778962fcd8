"""What answers of chat and completions share: why they ended, what they used, how sure the model was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slipway_runtime.serve.dialects import sse
from slipway_runtime.tasks.generated import Generated, Token

DONE = sse.event(b"[DONE]")
"""OpenAI's last event."""


def finish_reason(one: Generated) -> str:
    """OpenAI's clients know no eos_token or stop_sequence."""
    if one.tool_calls:
        return "tool_calls"
    return "length" if one.finish_reason == "length" else "stop"


def usage(found: Sequence[Sequence[Generated]]) -> dict[str, Any]:
    """Tokens of each prompt once, and of all answers."""
    prompt = sum(answers[0].prompt_tokens for answers in found)
    completion = sum(len(one.tokens) for answers in found for one in answers)
    used: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    cached = [answers[0].cached_tokens for answers in found]
    if None not in cached:
        used["prompt_tokens_details"] = {"cached_tokens": sum(one or 0 for one in cached)}
    return used


def chat_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """As chat completions have them."""
    content = [{**_chat_token(token), "top_logprobs": [_chat_token(top) for top in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _chat_token(token: Token) -> dict[str, Any]:
    return {"token": token.piece, "logprob": token.logprob, "bytes": list(token.piece.encode())}


def completion_logprobs(tokens: Sequence[Token], offset: int = 0) -> dict[str, Any]:
    """As completions have them; `offset`: where the first token begins in the text."""
    places = []
    for token in tokens:
        places.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.piece for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{top.piece: top.logprob for top in token.top} for token in tokens],
        "text_offset": places,
    }
