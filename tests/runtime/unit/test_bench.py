"""The pure parts of bench/runtime: inputs, limits, what a window comes to, what answers say."""

from __future__ import annotations

import math

import pytest

from bench.runtime import inputs, limits, wire
from bench.runtime.figure import Target
from bench.runtime.inputs import Source
from bench.runtime.limits import Asked
from bench.table import markdown, percentile

WORDS = [f"word{i}" for i in range(5000)]
CHAT = wire.Wire("/v1/chat/completions", chat=True)


def test_lengths_are_log_normal_within_bounds_and_have_the_mean() -> None:
    lengths = inputs.text_lengths()
    assert (min(lengths), max(lengths)) == (inputs.LEAST, inputs.MOST)
    assert sum(lengths) / len(lengths) == pytest.approx(inputs.MEAN, abs=0.1)
    logarithms = sorted(math.log(length) for length in lengths)
    low, middle, high = (percentile(logarithms, share) for share in (0.16, 0.5, 0.84))
    assert (high - low) / 2 == pytest.approx(inputs.SIGMA, rel=0.05)
    assert high - middle == pytest.approx(middle - low, abs=0.1)


def test_every_block_has_the_same_lengths_in_another_order() -> None:
    source = Source(WORDS, "classification", seed=1)
    first, second = ([len(text.split()) + inputs.SPECIAL for text in source.some(inputs.BLOCK)] for _ in range(2))
    assert sorted(first) == sorted(second) == sorted(inputs.text_lengths())
    assert first != second


def test_no_input_comes_twice_and_equal_seeds_give_equal_inputs() -> None:
    # With few words the shortest texts are soon used up: 40 words make 1,600 texts of two.
    texts = Source(WORDS[:40], "classification", seed=3).some(4 * inputs.BLOCK)
    assert len(set(texts)) == len(texts)
    assert texts == Source(WORDS[:40], "classification", seed=3).some(4 * inputs.BLOCK)
    assert texts != Source(WORDS[:40], "classification", seed=4).some(4 * inputs.BLOCK)


def test_a_prompt_begins_with_a_blank_and_has_a_word_per_token() -> None:
    least, most = inputs.PROMPT
    prompts = Source(WORDS, "generation", seed=1).some(inputs.BLOCK)
    assert all(prompt.startswith(" word") for prompt in prompts)
    assert {len(prompt.split()) for prompt in prompts} == set(range(least, most + 1))


def test_a_window_is_sorted_by_length_and_cut_into_batches() -> None:
    assert limits.batches([5, 1, 4, 2, 3], 2) == [[1, 3], [4, 2], [0]]
    assert limits.batches([5, 1, 4, 2, 3], 2, in_order=True) == [[0, 1], [2, 3], [4]]


def test_batch_sizes_that_are_tried_do_not_exceed_the_window() -> None:
    assert limits.candidates(1) == [1]
    assert limits.candidates(12) == [1, 2, 4, 8, 12]
    assert limits.candidates(512) == [1, 2, 4, 8, 16, 32, 64]


def test_a_request_counts_with_the_share_of_its_time_within_the_window() -> None:
    asked = [Asked(0.0, 1.0, 2.0, 200), Asked(1.0, 1.5, 2.0, 200), Asked(2.5, 3.0, 3.5, 200)]
    found = limits.load(asked, 1.0, 3.0)
    assert found.rate == pytest.approx((0.5 + 1 + 0.5) / 2)
    assert found.answered == 2  # the third ended after the window
    assert (found.p50, found.p99) == (1.0, 2.0)
    assert (found.first_p50, found.first_p99) == (0.5, 1.0)


def test_what_was_not_answered_with_200_is_no_part_of_rate_or_times() -> None:
    asked = [Asked(0.0, 0.1, 0.1, 429), Asked(0.0, 0.5, 0.5, 200), Asked(0.0, 0.2, 0.2, 0)]
    found = limits.load(asked, 0.0, 1.0)
    assert (found.rate, found.answered, found.other, found.p99) == (1.0, 1, 2, 0.5)


def test_a_window_without_an_answer_is_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match=r"no request was answered in 1\.0 s; 1 failed"):
        limits.load([Asked(0.0, 0.5, 0.5, 503)], 0.0, 1.0)


@pytest.mark.parametrize(("share", "value"), [(0.5, 5), (0.99, 10), (0.0, 1), (1.0, 10)])
def test_percentiles_are_of_the_nearest_rank(share: float, value: int) -> None:
    assert percentile([*range(10, 0, -1)], share) == value


def test_a_target_says_by_how_much_it_is_missed() -> None:
    assert Target("share", 0.85, least=0.85).verdict == "met"
    assert Target("share", 0.7, least=0.85).verdict == "missed by 0.15"
    assert Target("p99", 80.0, "ms", most=50).verdict == "missed by 30.0 ms"


def test_a_table_is_padded() -> None:
    assert markdown(("a", "bcd"), [("long", "1")]) == ["| a    | bcd |", "|------|-----|", "| long | 1   |"]


def test_a_raw_request_says_how_long_its_body_is() -> None:
    request = next(wire.requests(Source(WORDS, "classification", seed=1), wire.Wire(), 1))
    head, _, body = request.raw.partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_answers_are_paired_with_their_texts() -> None:
    scores = [{"label": "a", "score": 1.0}]
    assert wire.pairs(["x"], b'[[{"label": "a", "score": 1.0}]]', wire.Wire()) == [("x", [scores])]
    assert wire.pairs(["x", "y"], b"[[1.0, 2.0], [3.0, 4.0]]", wire.Wire()) == [("x", [1.0, 2.0]), ("y", [3.0, 4.0])]
    assert wire.pairs(["x"], b'[{"generated_text": "x y"}]', wire.Wire()) == [("x", "x y")]


def events(*parts: str, finish: str = "length") -> bytes:
    chunks = [f'{{"choices": [{{"delta": {{"content": "{part}"}}, "finish_reason": null}}]}}' for part in parts]
    chunks.append(f'{{"choices": [{{"delta": {{}}, "finish_reason": "{finish}"}}]}}')
    return "".join(f"data: {chunk}\n\n" for chunk in (*chunks, "[DONE]")).encode()


def test_a_stream_is_put_together() -> None:
    assert wire.pairs(["x"], events("one ", "two"), CHAT) == [("x", "one two")]


def test_a_stream_that_ends_early_or_with_an_error_is_no_answer() -> None:
    with pytest.raises(ValueError, match="ended with stop"):
        wire.chat_text(events("one", finish="stop"))
    with pytest.raises(ValueError, match="ended with an error: overloaded"):
        wire.chat_text(b'data: {"error": "overloaded"}\n\n')
