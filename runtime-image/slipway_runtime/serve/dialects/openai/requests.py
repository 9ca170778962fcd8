"""The fields of OpenAI's requests, and what a task is asked with for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.service import TokenIds

MAX_PROMPTS = 2048  # OpenAI's own; the server's limit, which is lower, is found after token ids have been read
Count = Annotated[int, msgspec.Meta(ge=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class Common(msgspec.Struct, kw_only=True):
    """Of every route. The second group is taken and changes nothing: it concerns OpenAI's own service."""

    model: str | None = None

    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None
    prediction: Any = None


class StreamOptions(msgspec.Struct, kw_only=True):
    """include_obfuscation pads events against listeners; TLS is the place for that."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(Common, kw_only=True):
    """What chat and completions share. top_k, repetition_penalty and truncate (to so many of the prompt's last tokens)
    are no fields of OpenAI's, but the task's; cache_salt is vLLM's: prompts go on from those of the same salt only."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Count | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] | None = None
    truncate: Count | None = None
    cache_salt: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Count = 1
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatRequest(Sampling, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[Any]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    tool_prompt: str | None = None
    """TGI's: how tools are told of to models whose template knows none."""
    parallel_tool_calls: bool = True
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Sampling, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[Any]
    """A text, a list of them, a list of token ids, or a list of such lists."""
    best_of: Count | None = None
    echo: bool = False
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    suffix: str | None = None


class EmbeddingRequest(Common, kw_only=True):
    """POST /v1/embeddings. truncate and prompt_name are the task's, for those who know them."""

    input: str | list[Any]
    """As a prompt of completions."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    truncate: bool | None = None
    prompt_name: str | None = None


def prompts(value: str | list[Any], field: str) -> list[str | TokenIds]:
    """A text, token ids of the model's own vocabulary, or a list of such. Raises InvalidInput."""
    if isinstance(value, str):
        return [value]
    if len(value) > MAX_PROMPTS and not _are_ids(value):
        raise InvalidInput(field, f"has {len(value)} entries, at most {MAX_PROMPTS} are allowed; send several requests")
    if _are_ids(value):
        return [TokenIds(tuple(value))]
    for i, one in enumerate(value):
        if not isinstance(one, str) and not _are_ids(one):
            raise InvalidInput(f"{field}[{i}]", "must be a string or a list of token ids")
    return [one if isinstance(one, str) else TokenIds(tuple(one)) for one in value]


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int for one in value)


CHAT_FIELDS = {"inputs": ""}
"""inputs.messages[1] is what they call messages[1]."""


def chat_of(asked: ChatRequest) -> dict[str, Any]:
    """The chat as the tasks take it. What may be said of tools without any says nothing."""
    idle = not asked.tools and asked.tool_choice in ("none", "auto")
    found = {
        "messages": asked.messages,
        "tools": asked.tools,
        "tool_choice": None if idle else asked.tool_choice,
        "tool_prompt": asked.tool_prompt,
    }
    return {name: value for name, value in found.items() if value is not None}


def parameters(asked: Sampling) -> dict[str, Any]:
    """The parameters of text-generation, as TGI calls them. Temperature 0 means the likeliest token each time."""
    if asked.stream_options is not None and not asked.stream:
        raise InvalidInput("stream_options", "is only for a stream; set stream to true, or leave it out")
    greedy = asked.temperature == 0
    found: dict[str, Any] = {
        "do_sample": not greedy,
        "temperature": None if greedy else asked.temperature,
        "top_p": None if greedy else asked.top_p,
        "top_k": None if greedy else asked.top_k,
        "repetition_penalty": asked.repetition_penalty,
        "truncate": asked.truncate,
        "presence_penalty": asked.presence_penalty,
        "frequency_penalty": asked.frequency_penalty,
        "logit_bias": asked.logit_bias or None,
        "seed": asked.seed,
        "stop": [asked.stop] if isinstance(asked.stop, str) else asked.stop,
        "n": asked.n if asked.n > 1 else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def told(**names: str) -> dict[str, str]:
    """The task's fields in OpenAI's words: `names` of parameters; any other parameter has the same name."""
    return {**{f"parameters.{own}": theirs for own, theirs in names.items()}, "parameters": ""}
