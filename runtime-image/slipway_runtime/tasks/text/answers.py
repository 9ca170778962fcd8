"""Logits for where an answer begins and ends → the likeliest answers. Pure.

The scores are those of transformers' question-answering pipeline, which version 5 removed: softmax over the context's
tokens and the one that stands for "no answer" (CLS), the beginning's times the end's.
"""

from __future__ import annotations

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


def best_places(
    window: Window, scores: WindowScores, *, top_k: int, longest: int, whole_words: bool
) -> dict[tuple[int, int], float]:
    """The likeliest answers of at most `longest` tokens, best first: characters from and to → score."""
    tokens = np.flatnonzero(scores.context)
    first = np.tile(np.arange(len(tokens)), (min(longest, len(tokens)), 1))
    last = first + np.arange(len(first))[:, None]
    inside = last < len(tokens)
    first, last = tokens[first[inside]], tokens[last[inside]]
    likely = scores.begins[first] * scores.ends[last]
    opens, closes = _characters(window, whole_words=whole_words)
    order = np.argsort(-likely, kind="stable")
    places = opens[first[order]] * (closes.max(initial=0) + 1) + closes[last[order]]
    _, at = np.unique(places, return_index=True)  # where each place comes first, and so is likeliest
    return {(int(opens[first[i]]), int(closes[last[i]])): float(likely[i]) for i in order[np.sort(at)[:top_k]].tolist()}


def _characters(window: Window, *, whole_words: bool) -> tuple[Any, Any]:
    """Per token, where it stands in its text, from and to; with `whole_words` where its word does."""
    opens, closes = np.array(window.offsets, dtype=np.int64).reshape(-1, 2).T
    if whole_words:
        begin = 0
        for end in range(1, len(window.words) + 1):
            if end < len(window.words) and _word(window, end) == _word(window, begin) is not None:
                continue
            opens[begin:end], closes[begin:end] = opens[begin], closes[end - 1]
            begin = end
    return opens, closes


def _word(window: Window, token: int) -> tuple[int | None, int] | None:
    word = window.words[token]
    return None if word is None else (window.sequences[token], word)
