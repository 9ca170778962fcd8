"""The highest of many scores, and labels with them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from slipway_runtime.tasks.scores import best_labels, highest, usual_function


@pytest.mark.parametrize("most", [1, 2, 7, 50, 51, 1000])
def test_the_highest_are_those_of_a_full_sort_the_first_of_equals_first(most: int) -> None:
    scores = np.random.default_rng(0).integers(0, 9, 50).astype(np.float32)
    assert highest(scores, most).tolist() == np.argsort(-scores, kind="stable")[:most].tolist()


def test_scores_are_plain_numbers_whatever_the_logits_were() -> None:
    for kind in (np.float32, np.float16, np.float64):
        answer = best_labels(np.array([0.0, 1.0, 2.0], kind), ["a", "b", "c"], "softmax", 2)
        assert [entry["label"] for entry in answer] == ["c", "b"]
        assert all(type(entry["score"]) is float for entry in answer)
        assert orjson.loads(orjson.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("problem", "labels", "function"),
    [
        (None, 3, "softmax"),
        ("single_label_classification", 3, "softmax"),
        ("multi_label_classification", 3, "sigmoid"),
        (None, 1, "sigmoid"),
        ("regression", 1, "none"),
    ],
)
def test_the_usual_function_is_the_pipelines(problem: str | None, labels: int, function: str) -> None:
    assert usual_function(SimpleNamespace(problem_type=problem, num_labels=labels)) == function
