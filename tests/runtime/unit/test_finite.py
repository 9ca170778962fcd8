"""Answers with numbers that are none are found, wherever they stand."""

from __future__ import annotations

import numpy as np
import pytest
from slipway_runtime.tasks.adapter import Media
from slipway_runtime.tasks.finite import finite

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "value",
    [
        NAN,
        -INFINITY,
        [0.5, NAN],
        [[{"label": "a", "score": 0.5}, {"label": "b", "score": NAN}]],
        {"timestamp": (0.0, INFINITY)},
        np.float32("nan"),
        np.float64("inf"),
        np.array([[1.0, 2.0], [3.0, NAN]], dtype=np.float32),
        [np.ones(3), np.array([INFINITY], dtype=np.float16)],
    ],
)
def test_what_is_no_number_is_found(value: object) -> None:
    assert not finite(value)


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        3,
        "nan",
        None,
        True,
        [[{"label": "NaN", "score": 1.0, "box": {"xmin": 3}}], None],
        np.arange(3),
        np.ones((2, 3), dtype=np.float16),
        np.array(["nan"]),
        Media(b"RIFF", "audio/wav"),
        [],
    ],
)
def test_anything_else_is_an_answer(value: object) -> None:
    assert finite(value)
