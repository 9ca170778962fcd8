"""The line that a soak is judged by: it finds growth, and does not take noise for it."""

from __future__ import annotations

import random

import pytest

from bench.soak.growth import WARM_UP, growth

HOUR = 3600.0
TIMES = [10.0 * i for i in range(360)]


def wandering(seed: int, size: float) -> list[float]:
    """Noise whose neighbours are alike, as memory is that an allocator takes and gives back."""
    rng, value, values = random.Random(seed), 0.0, []  # noqa: S311
    for _ in TIMES:
        value = 0.9 * value + rng.gauss(0, size)
        values.append(value)
    return values


def test_a_leak_is_found_with_its_size() -> None:
    noise = wandering(1, 1.0)
    found = growth(TIMES, [500 + 30 * t / HOUR + n for t, n in zip(TIMES, noise, strict=True)], total=HOUR)
    assert found is not None
    assert found.per_hour == pytest.approx(30, abs=4 * found.error)
    assert found.exceeds(10)
    assert not found.exceeds(30)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_growth(seed: int) -> None:
    found = growth(TIMES, [500 + n for n in wandering(seed, 1.0)], total=HOUR)
    assert found is not None
    assert not found.exceeds(10)


def test_what_is_filled_once_at_the_start_is_no_growth() -> None:
    values = [500 + 100 * min(1.0, t / (WARM_UP * HOUR)) + n for t, n in zip(TIMES, wandering(3, 0.5), strict=True)]
    found = growth(TIMES, values, total=HOUR)
    assert found is not None
    assert not found.exceeds(10)
    assert found.first == pytest.approx(600, abs=3)


def test_a_handle_left_open_every_few_minutes_is_found() -> None:
    found = growth(TIMES, [40.0 + int(t / 300) for t in TIMES], total=HOUR)
    assert found is not None
    assert found.exceeds(2)
    assert found.per_hour == pytest.approx(12, abs=1)


def test_too_little_is_not_judged() -> None:
    assert growth(TIMES[:100], [1.0] * 100, total=HOUR) is None
