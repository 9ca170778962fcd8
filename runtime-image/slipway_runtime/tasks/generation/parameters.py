"""The parameters of generated text: text-generation-inference's names, ranges and meanings, and a few of OpenAI's.

As there, temperature, top_k, top_p or typical_p ask for sampling, with or without do_sample.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Parameters
from slipway_runtime.tasks.generation.grammar import Grammar, Grammars
from slipway_runtime.tasks.generation.sampling import Sampling

MAX_SEQUENCES = 16
MAX_STOPS = 16
Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Stops = Annotated[list[Stop], msgspec.Meta(max_length=MAX_STOPS)]
# Dividing by less overflows; near 0 it says "the likeliest" anyhow.
Above0 = Annotated[float, msgspec.Meta(gt=1e-9, le=1000)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Several = Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQUENCES)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]


class GrammarParameters(Parameters, frozen=True, kw_only=True):
    """json and json_object: `value` is a schema; json_schema: {name, schema} as OpenAI has it, or a schema."""

    type: Literal["json", "json_object", "json_schema", "regex"]
    value: dict[str, Any] | str | None = None


class GenerationParameters(Parameters, frozen=True, kw_only=True):
    """See the module."""

    max_new_tokens: Count | None = None
    min_new_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    do_sample: bool = False
    temperature: Above0 | None = None
    top_k: Count | None = None
    top_p: Share | None = None
    typical_p: Share | None = None
    repetition_penalty: Above0 | None = None
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: Annotated[dict[str, Bias], msgspec.Meta(max_length=1024)] = {}  # noqa: RUF012 - msgspec copies it
    seed: Seed | None = None
    stop: Stop | Stops | None = None
    stop_sequences: Stop | Stops | None = None
    truncate: Count | None = None
    return_full_text: bool | None = None
    n: Several | None = None
    best_of: Several | None = None
    details: bool = False
    decoder_input_details: bool = False
    top_n_tokens: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0
    grammar: GrammarParameters | None = None
    watermark: bool = False

    @property
    def sampled(self) -> bool:
        return self.do_sample or any(
            value is not None for value in (self.temperature, self.top_k, self.top_p, self.typical_p)
        )

    @property
    def sequences(self) -> int:
        """Answers to make for each input."""
        return max(self.n or 1, self.best_of or 1)

    @property
    def stops(self) -> tuple[str, ...]:
        given = self.stop if self.stop is not None else self.stop_sequences
        return (given,) if isinstance(given, str) else tuple(given or ())


def checked(p: GenerationParameters, limits: Limits) -> GenerationParameters:
    """What the types do not say. Raises InvalidInput."""
    if p.watermark:
        raise InvalidInput("parameters.watermark", "is not done here; leave it out, or set it to false")
    if p.stop is not None and p.stop_sequences is not None:
        raise InvalidInput("parameters.stop_sequences", "is given beside stop, which is the same; give one of them")
    for name, most in (("max_new_tokens", p.max_new_tokens), ("min_new_tokens", p.min_new_tokens)):
        if (most or 0) > limits.max_new_tokens:
            raise InvalidInput(
                f"parameters.{name}", f"is {most}, at most {limits.max_new_tokens} are allowed on this server"
            )
    if p.max_new_tokens is not None and p.min_new_tokens > p.max_new_tokens:
        raise InvalidInput(
            "parameters.min_new_tokens", f"is {p.min_new_tokens}, more than max_new_tokens, {p.max_new_tokens}"
        )
    if p.min_new_tokens and p.grammar is not None:
        raise InvalidInput("parameters.min_new_tokens", "cannot be kept beside a grammar, which says where it ends")
    if p.best_of is not None and p.best_of > 1 and not p.sampled:
        raise InvalidInput("parameters.best_of", "needs sampling, else all answers are the same; set do_sample to true")
    if p.best_of is not None and p.best_of < (p.n or 1):
        raise InvalidInput("parameters.best_of", f"is {p.best_of}, less than n, {p.n}")
    return p


def grammar_of(asked: GrammarParameters | None, grammars: Grammars) -> Grammar | None:
    """Compiled. Raises InvalidInput."""
    if asked is None:
        return None
    field = "parameters.grammar.value"
    if asked.type == "regex":
        return grammars.regex(asked.value, field)
    value = asked.value
    if value is None and asked.type == "json_object":
        value = {"type": "object"}
    if asked.type == "json_schema" and isinstance(value, dict) and "schema" in value:
        value, field = value["schema"], f"{field}.schema"
    return grammars.json(value, field)


def samplings(
    p: GenerationParameters,
    grammar: Grammar | None,
    vocabulary: int,
    draw_seed: Callable[[], int] = lambda: secrets.randbits(63),
) -> list[Sampling]:
    """One per answer to an input; each has its own seed, the first the one that was asked for. Raises InvalidInput."""
    seed = p.seed if p.seed is not None else draw_seed() if p.sampled else 0
    bias = tuple((_token_id(token, vocabulary), value) for token, value in p.logit_bias.items())
    return [
        Sampling(
            sample=p.sampled,
            seed=seed + answer,
            temperature=p.temperature,
            top_k=p.top_k,
            top_p=p.top_p,
            typical_p=p.typical_p,
            repetition_penalty=p.repetition_penalty,
            frequency_penalty=p.frequency_penalty,
            presence_penalty=p.presence_penalty,
            logit_bias=bias,
            min_new_tokens=p.min_new_tokens,
            grammar=grammar,
        )
        for answer in range(p.sequences)
    ]


def _token_id(token: str, vocabulary: int) -> int:
    if not token.isascii() or not token.isdecimal() or len(token) > 9 or int(token) >= vocabulary:
        raise InvalidInput(
            f"parameters.logit_bias.{token[:80]}", f"is no token id of this model: they go from 0 to {vocabulary - 1}"
        )
    return int(token)
