"""Logits for where an answer begins and ends → the likeliest answers. Pure.

The scores are those of transformers' question-answering pipeline, which version 5 removed: softmax over the context's
tokens and the one that stands for "no answer" (CLS), the beginning's times the end's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from slipway_runtime.tasks.scores import softmax
from slipway_runtime.tasks.texts import Window


@dataclass(frozen=True)
class WindowScores:
    """Probabilities per token of one window."""

    begins: Any
    ends: Any
    context: Any
    """Which tokens are the context's."""
    nothing: float
    """That the window holds no answer."""


def scored(window: Window, start: Any, end: Any, context: int, cls: int | None) -> WindowScores:
    """`context`: its number in the pair; `cls`: the id of the token that stands for no answer."""
    inside = np.array([sequence == context for sequence in window.sequences])
    ids = np.array(window.encoded.ids)
    places = np.flatnonzero(ids == cls)  # none where cls is None
    allowed = inside.copy()
    allowed[places] = True
    if not allowed.any():
        return WindowScores(np.zeros(len(ids)), np.zeros(len(ids)), inside, 0.0)
    begins, ends = (softmax(np.where(allowed, logits, -np.inf)) for logits in (start, end))
    nothing = float(begins[places[0]] * ends[places[0]]) if len(places) else 0.0
    return WindowScores(begins, ends, inside, nothing)


def likeliest(scores: WindowScores, longest: int) -> Iterator[tuple[float, int, int]]:
    """(score, first token, last token) of answers in the context of at most `longest` tokens, best first."""
    tokens = np.flatnonzero(scores.context)
    begins, ends = scores.begins[tokens], scores.ends[tokens]
    more = min(longest, len(tokens))
    table = np.zeros((more, len(tokens)))  # [tokens after the first, first]: the whole square would be large
    for after in range(more):
        table[after, : len(tokens) - after] = begins[: len(tokens) - after] * ends[after:]
    for place in np.argsort(-table, axis=None, kind="stable"):
        after, first = divmod(int(place), len(tokens))
        if first + after < len(tokens):
            yield float(table[after, first]), int(tokens[first]), int(tokens[first + after])


def characters(window: Window, first: int, last: int, *, whole_words: bool) -> tuple[int, int]:
    """Where tokens `first` to `last` stand in their text; with `whole_words` wherever their words do."""
    if whole_words:
        first, last = _edge(window, first, -1), _edge(window, last, 1)
    return window.offsets[first][0], window.offsets[last][1]


def _edge(window: Window, token: int, step: int) -> int:
    """The word's first or last token in the window."""
    of = window.sequences[token], window.words[token]
    while of[1] is not None and 0 <= (near := token + step) < len(window.words):
        if (window.sequences[near], window.words[near]) != of:
            break
        token = near
    return token
