"""Which items run together, and what is learned of a forward's cost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slipway_runtime.serve.inference.batching import LEAST, WINDOW_SECONDS, Pace, cut, window

CPU = Pace(fixed=4e-3, per_token=1e-4)  # one more forward costs as much as 40 tokens


@pytest.mark.parametrize(
    ("lengths", "budget", "batches"),
    [
        ([5], 100, [[0]]),
        ([10, 10, 10], 100, [[0, 1, 2]]),
        ([10, 10, 10], 20, [[0, 1], [2]]),
        ([500], 100, [[0]]),  # longer than the budget: alone
        ([10, 200, 11, 190], 1000, [[0, 2], [3, 1]]),  # near in length, not in time
        ([200, 10, 190, 11], 1000, [[2, 0], [1, 3]]),  # what came first runs first
        ([10, 20], 1000, [[0, 1]]),  # padding costs less than a forward
    ],
)
def test_examples(lengths: list[int], budget: int, batches: list[list[int]]) -> None:
    assert cut(lengths, budget, CPU) == batches


@given(st.lists(st.integers(1, 600), min_size=1, max_size=60), st.integers(1, 5000))
def test_everything_runs_once_within_the_budget_and_the_first_first(lengths: list[int], budget: int) -> None:
    batches = cut(lengths, budget, CPU)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert 0 in batches[0]
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_no_other_cut_into_equal_batches_is_cheaper(lengths: list[int]) -> None:
    def cost(batches: list[list[int]]) -> float:
        return sum(CPU.seconds(max(lengths[i] for i in batch) * len(batch)) for batch in batches)

    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for size in (1, 4, 16, 40):
        equal = [order[i : i + size] for i in range(0, len(order), size)]
        assert cost(cut(lengths, 100_000, CPU)) <= cost(equal) + 1e-9


def test_where_a_forward_costs_much_batches_are_large() -> None:
    gpu, lengths = Pace(fixed=10e-3, per_token=1e-7), [4, 50, 100, 200] * 8
    assert len(cut(lengths, 100_000, gpu)) == 1
    assert len(cut(lengths, 100_000, CPU)) > 1


@pytest.mark.parametrize(("waiting", "size"), [(1, 1), (LEAST, LEAST), (3 * LEAST, LEAST), (48, 16)])
def test_a_window_is_the_third_that_waits_longest(waiting: int, size: int) -> None:
    assert window([5] * waiting, CPU) == size


def test_a_window_is_bounded_in_time() -> None:
    size = window([100] * 1000, CPU)
    assert LEAST <= size <= WINDOW_SECONDS / (100 * CPU.per_token) + 1


@pytest.mark.parametrize(("fixed", "per_token"), [(4e-3, 1e-4), (10e-3, 1e-6), (0.0, 1e-3)])
def test_the_cost_of_a_forward_is_learned(fixed: float, per_token: float) -> None:
    pace, draw = Pace(), random.Random(1)  # noqa: S311 - noise
    for _ in range(200):
        tokens = draw.randint(8, 2000)
        pace.observe(tokens, (fixed + per_token * tokens) * draw.uniform(0.95, 1.05))
    for tokens in (50, 500, 2000):
        assert pace.seconds(tokens) == pytest.approx(fixed + per_token * tokens, rel=0.35, abs=1e-3)


def test_equal_sizes_and_odd_times_leave_a_cost_that_can_be_used() -> None:
    pace = Pace()
    for seconds in (0.01, 0.5, 0.0, 0.02, 0.01):
        pace.observe(64, seconds)
        pace.observe(65, 0.0)
    assert pace.fixed >= 0
    assert pace.per_token > 0
