"""Tokens with labels → words and entities with their places in the text. Pure.

The rules are those of transformers' token-classification pipeline, strategy by strategy: what clients get from the
Hub is what they get here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Token:
    """One token that stands in the text."""

    index: int
    """Its place among the model's tokens, special ones included."""
    text: str
    scores: Any
    """Probability per label."""
    start: int
    end: int
    continues: bool
    """It goes on with the word of the token before."""


@dataclass(frozen=True)
class Labelled:
    """A token, a word or an entity with its label."""

    label: str
    score: float
    tokens: tuple[str, ...]
    start: int
    end: int
    index: int = 0


def tokens_alone(tokens: Sequence[Token], labels: Sequence[str]) -> list[Labelled]:
    """Each token with its best label."""
    return [
        Labelled(labels[best := int(t.scores.argmax())], float(t.scores[best]), (t.text,), t.start, t.end, t.index)
        for t in tokens
    ]


def words(tokens: Sequence[Token], labels: Sequence[str], strategy: str, join: Callable[..., str]) -> list[Labelled]:
    """Each word with the label of its first token, of its surest, or of the average over its tokens.

    `join`: tokens → text.
    """
    groups: list[list[Token]] = []
    for token in tokens:
        if groups and token.continues:
            groups[-1].append(token)
        else:
            groups.append([token])
    labelled = []
    for group in groups:
        scores = _WORD_SCORES[strategy](np.stack([token.scores for token in group]))
        best = int(scores.argmax())
        text = join([token.text for token in group])
        labelled.append(Labelled(labels[best], float(scores[best]), (text,), group[0].start, group[-1].end))
    return labelled


_WORD_SCORES: dict[str, Callable[[Any], Any]] = {
    "first": lambda scores: scores[0],
    "max": lambda scores: scores[scores.max(axis=-1).argmax()],
    "average": lambda scores: scores.mean(axis=0),
}


def entities(parts: Sequence[Labelled]) -> list[Labelled]:
    """Neighbours of one tag become one entity; a label that begins with B- begins a new one.

    Labels without B- or I- go on.
    """
    groups: list[list[Labelled]] = []
    for part in parts:
        if groups and not part.label.startswith("B-") and _tag(part.label) == _tag(groups[-1][-1].label):
            groups[-1].append(part)
        else:
            groups.append([part])
    return [
        Labelled(
            group[0].label.split("-", 1)[-1],
            float(np.mean([part.score for part in group])),
            tuple(token for part in group for token in part.tokens),
            group[0].start,
            group[-1].end,
        )
        for group in groups
    ]


def _tag(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def merged(found: Sequence[Labelled]) -> list[Labelled]:
    """Entities of windows that share tokens: of those that overlap the longest stays, then the surest."""
    kept: list[Labelled] = []
    for entity in sorted(found, key=lambda entity: entity.start):
        if kept and kept[-1].start <= entity.start < kept[-1].end:
            if (entity.end - entity.start, entity.score) > (kept[-1].end - kept[-1].start, kept[-1].score):
                kept[-1] = entity
        else:
            kept.append(entity)
    return kept
