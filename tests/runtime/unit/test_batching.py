"""Which items run together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slipway_runtime.serve.batching import FORWARD_TOKENS, SLACK, choose


@pytest.mark.parametrize(
    ("lengths", "budget", "batch"),
    [
        ([5], 100, [0]),
        ([10, 10, 10], 100, [0, 1, 2]),
        ([10, 10, 10], 20, [0, 1]),
        ([500], 100, [0]),  # longer than the budget: alone
        ([10, 200, 11, 190], 1000, [0, 2]),  # near in length, not in time
        ([200, 10, 190, 11], 1000, [2, 0]),
    ],
)
def test_examples(lengths: list[int], budget: int, batch: list[int]) -> None:
    assert choose(lengths, budget) == batch


@given(st.lists(st.integers(1, 600), min_size=1, max_size=80), st.integers(1, 5000))
def test_the_oldest_is_always_in_the_budget_holds_and_padding_is_bounded(lengths: list[int], budget: int) -> None:
    batch = choose(lengths, budget)
    assert 0 in batch
    assert len(set(batch)) == len(batch)
    taken = [lengths[i] for i in batch]
    padded = max(taken) * len(taken)
    assert len(batch) == 1 or padded <= budget
    assert padded <= SLACK * sum(taken) + FORWARD_TOKENS * len(taken)
