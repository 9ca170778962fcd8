"""TextTokenizer against transformers' own tokenizer call, and what it leaves of the machine to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.texts import Encoded, TextTokenizer

from tests.support import models

TEXTS = ["the film was great", "A bad, BAD movie!", "xyz é 東京 🙂", "cat " * 70, " rain\tand\nsun "]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reader() -> TextTokenizer:
    return TextTokenizer(models.tokenizer(), 64, needs_types=True)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pair", [None, "is it great", "rain " * 80])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_transformers(reader: TextTokenizer, text: str, pair: str | None, side: str) -> None:
    theirs: Any = models.tokenizer()
    theirs.truncation_side = side
    expected = theirs(text, pair, truncation=True, max_length=64)
    found = reader.encode(text, pair, field="inputs", truncate=True, side=side)
    assert found.ids == expected["input_ids"]
    assert found.types == expected["token_type_ids"]


def test_a_text_that_is_too_long_is_refused_with_both_numbers(reader: TextTokenizer) -> None:
    with pytest.raises(InvalidInput, match="has 72 tokens, the model takes 64"):
        reader.encode(TEXTS[3], field="inputs", truncate=False)


def test_places_are_those_of_the_characters(reader: TextTokenizer) -> None:
    text = "the film was great"
    [window] = reader.windows(text, field="inputs", most=64)
    for places, ids in ((window.offsets, window.encoded.ids), (reader.places(text), reader.ids(text))):
        assert len(places) == len(ids)
        assert [text[start:end] for start, end in places[1:-1]] == text.split()
    assert reader.ids(text, special_tokens=False) == reader.ids(text)[1:-1]
    assert reader.places(text, special_tokens=False) == reader.places(text)[1:-1]


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_padded_on_the_tokenizers_side(side: str) -> None:
    tokenizer: Any = models.tokenizer()
    tokenizer.padding_side = side
    reader = TextTokenizer(tokenizer, 64, needs_types=True, pad=9)
    rows = [Encoded([5, 6, 7], [0, 1, 1]), Encoded([8], [1]), Encoded([1, 2, 3, 4], [0, 0, 0, 0])]
    batch = reader.collate(rows, CPU)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
    for name, values, filler in (
        ("input_ids", [row.ids for row in rows], 9),
        ("attention_mask", [[1] * len(row.ids) for row in rows], 0),
        ("token_type_ids", [row.types for row in rows], 0),
    ):
        filled = [[filler] * (4 - len(row)) for row in values]
        expected = [f + row if side == "left" else row + f for f, row in zip(filled, values, strict=True)]
        assert batch[name].dtype == torch.int64
        assert batch[name].tolist() == expected


@pytest.mark.parametrize("what", ["encode", "cut", "windows", "places"])
def test_a_long_text_leaves_others_their_turn_while_it_is_tokenized(reader: TextTokenizer, what: str) -> None:
    """tokenizers' `encode` keeps Python's lock: an event loop beside it would stand still until the text's end."""
    text = "the film was great and " * (40_000 if what in ("encode", "cut") else 10_000)
    work: dict[str, Callable[[], object]] = {
        "encode": lambda: reader.count(text),
        "cut": lambda: reader.encode(text, field="inputs", truncate=True),
        "windows": lambda: reader.windows(text, field="inputs", most=64, overlap=8),
        "places": lambda: reader.places(text),
    }
    thread = threading.Thread(target=work[what])
    waits = [0.0]
    thread.start()
    began = last = time.perf_counter()
    while thread.is_alive():
        time.sleep(0.001)
        waits.append((now := time.perf_counter()) - last)
        last = now
    assert max(waits) < max(0.6 * (last - began), 0.05)  # what is over in no time holds nobody up


def test_several_threads_may_tokenize_at_once(reader: TextTokenizer) -> None:
    """transformers' own call fails with "Already borrowed" where they cut differently."""
    alone = {n: reader.encode(TEXTS[3], field="inputs", truncate=True, limit=n).ids for n in range(8, 40)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        order: list[int] = np.random.default_rng(seed).permutation(list(alone)).tolist()
        found = {n: reader.encode(TEXTS[3], field="inputs", truncate=True, limit=n).ids for n in order}
        wrong.extend(n for n in order if found[n] != alone[n])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
