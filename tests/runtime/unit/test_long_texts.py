"""Texts of megabytes: counted in pieces, so that they take little memory; what is made of them is the same."""

from __future__ import annotations

import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.texts import TextTokenizer

from tests.support.memory import peak_megabytes
from tests.support.models import tokenizer

LIMIT = 64
WORDS = "the film was great , i love it . an awful movie "
LONG = WORDS * 20_000  # 960,000 characters


def made(limit: int = LIMIT) -> TextTokenizer:
    return TextTokenizer(tokenizer(), limit, needs_types=True)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pair", [None, "a short one", WORDS * 60])
def test_what_is_cut_is_what_is_cut_of_the_whole(side: str, pair: str | None) -> None:
    text = WORDS * 300  # 14,000 characters
    direct = tokenizer()
    direct.truncation_side = side
    expected = direct(text, pair, truncation=True, max_length=LIMIT)["input_ids"]
    assert made().encode(text, pair, field="inputs", truncate=True, side=side).ids == expected


def test_a_text_of_megabytes_is_refused_in_little_memory() -> None:
    texts = made()
    texts.encode("the film", field="inputs", truncate=False)

    def refused() -> None:
        with pytest.raises(InvalidInput, match=r"inputs: has more than \d+ tokens, the model takes 64; shorten it"):
            texts.encode(LONG, field="inputs", truncate=False)

    assert peak_megabytes(refused) < 40


@pytest.mark.parametrize("pair", [None, LONG])
def test_a_text_of_megabytes_is_cut_in_little_memory(pair: str | None) -> None:
    """A pair would make parts of both by parts of both, hundreds of millions."""
    texts = made()

    def cut() -> None:
        assert len(texts.encode(LONG, pair, field="inputs", truncate=True).ids) == LIMIT

    assert peak_megabytes(cut) < 40


def test_more_windows_than_allowed_are_refused_in_little_memory() -> None:
    texts = made()

    def refused() -> None:
        with pytest.raises(InvalidInput, match="inputs: takes more than 4 windows of 64 tokens"):
            texts.windows(LONG, field="inputs", most=LIMIT, at_most=4)

    assert peak_megabytes(refused) < 40


def test_windows_of_a_long_text_of_few_tokens_are_all_there() -> None:
    text = " ".join(["film" + " " * 3000] * 100)  # 300,000 characters, 100 words
    windows = made().windows(text, field="inputs", most=LIMIT, at_most=4)
    assert [len(window.encoded.ids) for window in windows] == [64, 40]


def test_a_prompt_that_is_far_too_long_keeps_its_end() -> None:
    texts = made()
    whole = texts.ids(LONG[: 4 * 65_536])
    some = texts.ids(LONG[: 4 * 65_536], most=LIMIT)
    assert LIMIT < len(some) < len(whole)
    assert some[-LIMIT:] == whole[-LIMIT:]


def test_a_text_of_few_tokens_may_be_long() -> None:
    assert len(made().encode("x" * 500_000, field="inputs", truncate=False).ids) < LIMIT
