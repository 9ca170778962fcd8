"""The estimate shrinks as things go on, and is none where nothing is to come."""

from __future__ import annotations

import pytest
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.serve.life.estimate import seconds_until_ready


def estimate(
    stage: str, in_stage: float = 0, since: float = 0, download: float | None = None, size: int = 0
) -> float | None:
    return seconds_until_ready(
        stage=stage, in_stage=in_stage, since_start=since, download_seconds=download, size_bytes=size
    )


def test_the_measured_rate_of_the_download_counts() -> None:
    slow, fast = estimate("Downloading", download=100), estimate("Downloading", download=20)
    assert slow is not None
    assert fast is not None
    assert slow - fast == pytest.approx(80)


def test_a_larger_model_takes_longer_to_load() -> None:
    small, large = estimate("Loading", size=10**8), estimate("Loading", size=10**10)
    assert small is not None
    assert large is not None
    assert large > small + 10


def test_it_shrinks_with_time_and_never_below_a_second() -> None:
    values = [estimate("Loading", in_stage=t, since=t, size=10**9) for t in range(0, 60, 5)]
    assert values == sorted((v for v in values if v is not None), reverse=True)
    assert values[-1] == 1.0


@pytest.mark.parametrize("stage", ["Ready", "Failed", "Draining"])
def test_none_where_nothing_is_to_be_expected(stage: str) -> None:
    assert estimate(stage) is None


def test_progress_counts_bytes_and_a_restart_of_a_file() -> None:
    now = [0.0]
    progress = Progress(lambda: now[0])
    assert (progress.percent, progress.remaining_seconds) == (None, None)
    progress.expect(1000, already=200)
    assert progress.percent == 20.0
    now[0] = 2.0
    bar = progress.bar()(total=800, initial=0, desc="model.safetensors")
    with bar:
        bar.update(400)
        bar.set_postfix_str("drawn nowhere")
    assert progress.percent == 60.0
    assert progress.remaining_seconds == pytest.approx(2.0)
    bar.update(-400)  # the server ignored the range: huggingface_hub begins again
    assert progress.percent == 20.0
