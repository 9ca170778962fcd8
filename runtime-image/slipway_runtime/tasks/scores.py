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


def best_labels(
    logits: Any, labels: Sequence[str], config: Any, *, function: Function | None, top_k: int
) -> list[dict[str, Any]]:
    """Logits [labels] → [{label, score}, …], best first. Without `function` as transformers' pipelines choose by the
    model's config; a single label has no share of anything."""
    if function is None:
        problem = config.problem_type
        many = problem == "multi_label_classification" or config.num_labels == 1
        function = "none" if problem == "regression" else "sigmoid" if many else "softmax"
    scores = softmax(logits) if function == "softmax" else sigmoid(logits) if function == "sigmoid" else logits
    best = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": labels[i], "score": float(scores[i])} for i in best]
