"""Which token comes next: the settings of one answer, and its state while tokens are chosen.

Penalties, temperature and cuts are transformers' own, in its order. Frequency and presence penalties are OpenAI's
formula: logit − count · frequency − (count > 0) · presence, over the answer's own tokens.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from transformers import (
    LogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from slipway_runtime.tasks.generation.grammar import Grammar

_NEVER = -float("inf")
_SEEDS = 2**64


@dataclass(frozen=True)
class Sampling:
    """None: not used."""

    sample: bool = False
    """Draw the token; else the likeliest."""
    seed: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_new_tokens: int = 0
    grammar: Grammar | None = None


GREEDY = Sampling()


class Chooser:
    """One answer's choices. Its draws depend on its seed alone, whatever runs beside it."""

    def __init__(self, sampling: Sampling, prompt: list[int], ends: frozenset[int]) -> None:
        s = self._sampling = sampling
        self._ids = list(prompt)
        self._ends = ends
        self._counts: Counter[int] = Counter()
        self._random = torch.Generator().manual_seed(sampling.seed % _SEEDS) if sampling.sample else None
        self._warpers = _warpers(sampling)
        self._repetition = s.repetition_penalty if s.repetition_penalty != 1.0 else None
        self._matcher = sampling.grammar.matcher() if sampling.grammar is not None else None
        self._adjusts = bool(
            s.logit_bias or self._repetition or s.frequency_penalty or s.presence_penalty or s.min_new_tokens
        )

    @property
    def takes_the_likeliest(self) -> bool:
        """Nothing moves the model's logits and nothing is drawn: `choose` need not be asked."""
        return not self._sampling.sample and not self._adjusts and self._matcher is None

    @property
    def grammar_ended(self) -> bool:
        """Nothing more can follow."""
        return self._matcher is not None and self._matcher.ended

    def choose(self, logits: torch.Tensor) -> int:
        """`logits` [vocabulary], float32, not changed. Raises InvalidInput: see Matcher."""
        scores = self._adjusted(logits.clone()) if self._adjusts or self._matcher is not None else logits
        if not self._sampling.sample:
            return self._taken(int(scores.argmax()))
        rows = scores[None]
        ids = torch.tensor([self._ids], device=scores.device)
        for warper in self._warpers:
            rows = warper(ids, rows)
        # On the processor: the same seed then draws the same token on every device.
        drawn = torch.multinomial(rows[0].softmax(-1).cpu(), 1, generator=self._random)
        return self._taken(int(drawn))

    def _taken(self, token: int) -> int:
        self._ids.append(token)
        self._counts[token] += 1
        if self._matcher is not None:
            self._matcher.take(token)
        return token

    def _adjusted(self, scores: torch.Tensor) -> torch.Tensor:
        """`scores` is changed."""
        s = self._sampling
        if s.logit_bias:
            places = torch.tensor([token for token, _ in s.logit_bias], device=scores.device)
            scores[places] += torch.tensor([bias for _, bias in s.logit_bias], device=scores.device)
        if self._repetition is not None:
            penalty = RepetitionPenaltyLogitsProcessor(self._repetition)
            scores = penalty(torch.tensor([self._ids], device=scores.device), scores[None])[0]
        if self._counts and (s.frequency_penalty or s.presence_penalty):
            places = torch.tensor(list(self._counts), device=scores.device)
            counts = torch.tensor(list(self._counts.values()), dtype=scores.dtype, device=scores.device)
            scores[places] -= counts * s.frequency_penalty + s.presence_penalty
        if self._counts.total() < s.min_new_tokens:
            scores[list(self._ends)] = _NEVER
        if self._matcher is not None:
            scores.masked_fill_(~self._matcher.allowed(len(scores)).to(scores.device), _NEVER)
        return scores


def _warpers(s: Sampling) -> list[LogitsProcessor]:
    warpers: list[LogitsProcessor] = []
    if s.temperature is not None and s.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(s.temperature))
    if s.top_k is not None:
        warpers.append(TopKLogitsWarper(s.top_k))
    if s.top_p is not None and s.top_p < 1.0:
        warpers.append(TopPLogitsWarper(s.top_p))
    if s.typical_p is not None and s.typical_p < 1.0:
        warpers.append(TypicalLogitsWarper(s.typical_p))
    return warpers
