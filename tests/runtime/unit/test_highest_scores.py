"""The highest of many scores: as sorting all of them would have it; scores that are no numbers stay to be seen."""

from __future__ import annotations

import numpy as np
import pytest
from slipway_runtime.tasks.finite import finite
from slipway_runtime.tasks.scores import best_labels, highest


@pytest.mark.parametrize("most", [1, 3, 7, 50])
def test_they_are_those_of_a_whole_sort(most: int) -> None:
    scores = np.random.default_rng(0).integers(0, 9, 40).astype(np.float32)  # many are equal
    assert highest(scores, most).tolist() == np.argsort(-scores, kind="stable")[:most].tolist()


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("labels", [3, 30])
def test_an_answer_of_nan_is_not_empty_and_not_finite(function: str, labels: int) -> None:
    logits = np.full(labels, np.nan, dtype=np.float32)
    found = best_labels(logits, [str(i) for i in range(labels)], function, 5)  # type: ignore[arg-type]
    assert found
    assert not finite(found)
