"""Images and sound of several callers at once: what cannot be decoded fails alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.runtime.clients.samples import png, wav
from tests.runtime.conftest import Serve
from tests.support.tiny import MAKERS

CALLERS = 12


@pytest.mark.parametrize(
    ("task", "sample", "cut"),
    [("image-classification", png, 60), ("audio-classification", wav, 30)],
)
def test_a_file_that_is_no_file_fails_alone_among_other_callers(
    task: str, sample: Callable[[], bytes], cut: int, serve: Serve, tmp_path: Path
) -> None:
    whole = sample()
    with serve(MAKERS[task](tmp_path / "model")) as server:

        def send(content: bytes) -> httpx.Response:
            return httpx.post(server.url, content=content, timeout=120)

        alone = send(whole).json()
        bodies = [whole[:cut] if i % 3 == 1 else whole for i in range(CALLERS)]
        with ThreadPoolExecutor(CALLERS) as callers:
            answers = list(callers.map(send, bodies))
        after = send(whole)
    for body, answer in zip(bodies, answers, strict=True):
        if body is whole:
            assert answer.status_code == 200
            for found, expected in zip(answer.json(), alone, strict=True):
                assert found["label"] == expected["label"]
                assert found["score"] == pytest.approx(expected["score"], abs=1e-5)
        else:
            assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")
    assert after.json() == alone
