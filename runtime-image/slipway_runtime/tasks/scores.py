"""Logits → scores, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax(logits: Any) -> Any:
    """Along the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(logits: Any) -> Any:
    """Of each number; without overflow, however large it is."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
