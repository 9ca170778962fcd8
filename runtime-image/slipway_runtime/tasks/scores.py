"""Logits → scores, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Function = Literal["sigmoid", "softmax", "none"]
"""`function_to_apply` of the tasks that classify."""


def softmax(logits: Any) -> Any:
    """Along the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(logits: Any) -> Any:
    """Of each number; without overflow, however large it is."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def highest(scores: Any, most: int) -> Any:
    """Places of the `most` highest scores, best first; of equal ones the first."""
    if most < len(scores):  # a vocabulary's sorted in full takes ten times as long
        # Not >=: of NaN nothing would be left, and an empty answer would pass for one.
        among = np.flatnonzero(~(scores < np.partition(scores, -most)[-most]))
        return among[np.argsort(-scores[among], kind="stable")[:most]]
    return np.argsort(-scores, kind="stable")


def usual_function(config: Any) -> Function:
    """As transformers' pipelines choose by the model's config; a single label has no share of anything."""
    problem = config.problem_type
    many = problem == "multi_label_classification" or config.num_labels == 1
    return "none" if problem == "regression" else "sigmoid" if many else "softmax"


def label_names(config: Any) -> list[str]:
    """The model's words for its classes, in the order of its logits."""
    return [str(config.id2label.get(i, f"LABEL_{i}")) for i in range(config.num_labels)]


def best_labels(logits: Any, labels: Sequence[str], function: Function, top_k: int) -> list[dict[str, Any]]:
    """Logits [labels] → [{label, score}, …], best first."""
    scores = softmax(logits) if function == "softmax" else sigmoid(logits) if function == "sigmoid" else logits
    best = highest(scores, top_k)
    return [{"label": labels[i], "score": score} for i, score in zip(best.tolist(), scores[best].tolist(), strict=True)]
