"""Generated text as text-generation-inference writes it: on its own routes, and on `/` where it came from.

{generated_text, details?}      details: {finish_reason, generated_tokens, seed, prefill, tokens, top_tokens?,
                                best_of_sequences?}
events                          {index, token, top_tokens?, generated_text, details}: the last token's event has
                                the text and {finish_reason, generated_tokens, seed, input_length}; index counts
                                from 1. No [DONE]: it crashes text_generation's client.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import sse
from slipway_runtime.serve.inference.service import Answer, Part
from slipway_runtime.tasks.generated import Generated, Token


@dataclass(frozen=True)
class Wanted:
    """What of an answer the caller asked to see; the adapter has checked the types."""

    full_text: bool = False
    """The prompt before the answer."""
    details: bool = False
    best_of: bool = False
    """Of several answers the likeliest, the others only in its details."""
    messages: Sequence[Any] | None = None
    """A chat: the full text is then its messages with the answer as the last."""

    @classmethod
    def of(cls, parameters: dict[str, Any], *, full_text: bool, messages: Sequence[Any] | None = None) -> Wanted:
        """`full_text`: where the caller says nothing of it."""
        full = parameters.get("return_full_text")
        return cls(
            full_text if full is None else full is True,
            parameters.get("details") is True or parameters.get("decoder_input_details") is True,
            isinstance(parameters.get("best_of"), int) and parameters["best_of"] > 1,
            messages,
        )

    def text(self, answer: Generated) -> Any:
        """generated_text."""
        if not self.full_text:
            return answer.text
        if self.messages is not None:
            return [*self.messages, {"role": "assistant", "content": answer.text}]
        return answer.prompt + answer.text


def messages_of(inputs: object) -> list[Any] | None:
    """Those of a chat: given as {"messages": …}, or alone. None where inputs are no chat."""
    if isinstance(inputs, dict):
        inputs = inputs.get("messages")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) and "role" in one for one in inputs):
        return None
    return inputs


def answers(found: Sequence[Generated], wanted: Wanted) -> list[dict[str, Any]]:
    """The answers to one input."""
    if not wanted.best_of:
        return [_answer(one, (), wanted) for one in found]
    best, *others = sorted(found, key=_likelihood, reverse=True)
    return [_answer(best, others, wanted)]


def refuse_in_stream(parameters: dict[str, Any]) -> None:
    """InvalidInput for what only a whole answer can have."""
    for name, why in (
        ("n", "its events are of one answer"),
        ("best_of", "the best is known only at the end"),
        ("decoder_input_details", "its events have no place for the prompt"),
    ):
        value = parameters.get(name)
        if value is True or (not isinstance(value, bool) and isinstance(value, int) and value > 1):
            raise InvalidInput(f"parameters.{name}", f"cannot be asked of a stream: {why}; leave it or stream out")


def adapter_of(parameters: dict[str, Any]) -> str | None:
    """The LoRA adapter that TGI's parameter adapter_id names, taken out of the parameters."""
    name = parameters.pop("adapter_id", None)
    if not isinstance(name, str | None):
        raise InvalidInput("parameters.adapter_id", "must be a string")
    return name


def headers(answer: Answer, inputs: object) -> tuple[tuple[str, str], ...]:
    """TGI's: times in whole milliseconds, but x-compute-time in seconds."""
    found: list[list[Generated]] = answer.value
    generated = sum(len(one.tokens) for each in found for one in each)
    seconds = answer.preprocess_seconds + answer.queue_seconds + answer.forward_seconds
    texts = inputs if isinstance(inputs, list) else [inputs]
    return (
        ("x-compute-type", answer.device.partition(":")[0]),
        ("x-compute-time", f"{seconds:.6f}"),
        ("x-compute-characters", str(sum(len(text) for text in texts if isinstance(text, str)))),
        ("x-total-time", _milliseconds(seconds)),
        ("x-validation-time", _milliseconds(answer.preprocess_seconds)),
        ("x-queue-time", _milliseconds(answer.queue_seconds)),
        ("x-inference-time", _milliseconds(answer.forward_seconds)),
        ("x-time-per-token", _milliseconds(answer.forward_seconds / max(1, generated))),
        ("x-prompt-tokens", str(sum(each[0].prompt_tokens for each in found))),
        ("x-generated-tokens", str(generated)),
    )


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


async def events(parts: AsyncIterator[Part | Answer], wanted: Wanted) -> AsyncGenerator[bytes, None]:
    """Tokens as they come; the last is held until the whole text is there."""
    index, last = 0, None
    async for part in parts:
        if isinstance(part, Part):
            token: Token = part.value
            index += 1
            if token.last:
                last = token
            else:
                yield sse.event(orjson.dumps(_event(index, token)))
            continue
        whole: Generated = part.value[0][0]
        if last is None:  # ended before the model could say so: text and details still need an event
            index, last = index + 1, Token(0, "", 0.0, special=True)
        details = {**_ending(whole), "input_length": whole.prompt_tokens} if wanted.details else None
        yield sse.event(orjson.dumps(_event(index, last, wanted.text(whole), details)))


def _event(index: int, token: Token, text: Any = None, details: dict[str, Any] | None = None) -> dict[str, Any]:
    event: dict[str, Any] = {"index": index, "token": _token(token)}
    if token.top:
        event["top_tokens"] = [_token(top) for top in token.top]
    return {**event, "generated_text": text, "details": details}


def _answer(answer: Generated, others: Sequence[Generated], wanted: Wanted) -> dict[str, Any]:
    found = {"generated_text": wanted.text(answer)}
    if not wanted.details:
        return found
    details = _details(answer)
    if others:
        details["best_of_sequences"] = [{"generated_text": wanted.text(one), **_details(one)} for one in others]
    return {**found, "details": details}


def _details(answer: Generated) -> dict[str, Any]:
    details: dict[str, Any] = {
        **_ending(answer),
        "prefill": [{"id": token.id, "text": token.text, "logprob": token.logprob} for token in answer.prefill],
        "tokens": [_token(token) for token in answer.tokens],
    }
    if any(token.top for token in answer.tokens):
        details["top_tokens"] = [[_token(top) for top in token.top] for token in answer.tokens]
    return details


def _ending(answer: Generated) -> dict[str, Any]:
    return {"finish_reason": answer.finish_reason, "generated_tokens": len(answer.tokens), "seed": answer.seed}


def _token(token: Token) -> dict[str, Any]:
    # Clients leave special tokens out of the text, and join all others to what generated_text is.
    text = token.piece if token.special else token.text
    return {"id": token.id, "text": text, "logprob": token.logprob, "special": token.special}


def _likelihood(answer: Generated) -> float:
    """Mean log probability of its tokens, by which TGI ranks too."""
    return sum(token.logprob for token in answer.tokens) / max(1, len(answer.tokens))
