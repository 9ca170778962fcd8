"""Text from ids one at a time, and stop strings, without a model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_runtime.tasks.generation.detokenizer import Detokenizer
from slipway_runtime.tasks.generation.stopping import StopStrings

from tests.support.models import tokenizer as wordpiece
from tests.support.tiny.generation import byte_tokenizer

TEXTS = (
    "the film was great",
    "é of 😀😀 cats, naïve 漢字 the a cat",
    " \n blanks  \t and lines\n",
    "👩‍👩‍👧‍👦 a family",
)


def sentencepiece() -> Any:
    """Words with the blank before them, and bytes for all that is no word, as Llama 2 has them."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghilmnrstw", "▁cat"]
    raw = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate([*pieces, "▁c", "▁ca"])},
            merges=[("▁", "c"), ("▁c", "a"), ("▁ca", "t")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", bos_token="<s>")  # type: ignore[no-untyped-call]


@pytest.fixture(params=[byte_tokenizer, sentencepiece, wordpiece])
def tokenizer(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield request.param()


def test_pieces_join_to_the_text_whose_ids_they_are(tokenizer: Any) -> None:
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for before in range(len(ids)):
            words = Detokenizer(tokenizer, ids[:before])
            pieces = [words.add(token) for token in ids[before:]]
            prompt = tokenizer.decode(ids[:before], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            assert all("\ufffd" not in piece for piece in pieces[:-1]) or "\ufffd" in prompt
            if "\ufffd" not in prompt:
                whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                assert prompt + "".join(pieces) == whole


def test_half_a_character_is_never_given_out() -> None:
    tok = byte_tokenizer()
    words = Detokenizer(tok, [])
    ids = tok("a😀b", add_special_tokens=False)["input_ids"]
    assert [words.add(token) for token in ids] == ["a", "", "", "", "😀", "b"]


def test_bytes_that_are_no_character_are_given_out_once_that_is_certain() -> None:
    tok = byte_tokenizer()
    face = tok("😀", add_special_tokens=False)["input_ids"]
    words = Detokenizer(tok, [])
    pieces = [words.add(token) for token in [face[1], face[1], face[0], *tok("ab")["input_ids"]]]
    assert "".join(pieces) == "\ufffd\ufffd\ufffdab"
    assert pieces[0] == ""


def test_special_tokens_add_nothing_but_have_a_text_of_their_own() -> None:
    tok = byte_tokenizer()
    words = Detokenizer(tok, [])
    assert words.alone(2) == "</s>"
    assert words.add(2) == ""


@pytest.mark.parametrize(
    ("stops", "parts", "shown", "found"),
    [
        (("END",), ["a", "E", "N", "x", "E", "ND", "b"], ["a", "", "", "ENx", "", ""], True),
        (("aab",), ["a", "a", "a", "b"], ["", "", "a", ""], True),
        (("\n\n", "stop"), ["one\n", "two s", "top"], ["one", "\ntwo ", ""], True),
        (("b", "abc"), ["xab"], ["xa"], True),
        (("never",), ["ne", "w", "n"], ["", "new", ""], False),
        ((), ["a", "b"], ["a", "b"], False),
    ],
)
def test_text_is_held_while_it_may_become_a_stop_string(
    stops: tuple[str, ...], parts: list[str], shown: list[str], found: bool
) -> None:
    stop = StopStrings(stops)
    seen = []
    for part in parts:
        seen.append(stop.add(part))
        if stop.found:
            break
    assert seen == shown
    assert stop.found is found


def test_what_was_held_is_given_at_another_end() -> None:
    stop = StopStrings(("never",))
    assert stop.add("we nev") + stop.rest() == "we nev"


def test_however_a_text_is_cut_into_parts_it_ends_at_the_same_place() -> None:
    rng = random.Random(0)  # noqa: S311 - cases, no secrets
    for _ in range(300):
        text = "".join(rng.choices("ab\n", k=rng.randint(0, 14)))
        stops = tuple("".join(rng.choices("ab\n", k=rng.randint(1, 3))) for _ in range(rng.randint(1, 2)))
        stop, shown, at = StopStrings(stops), "", 0
        while at < len(text) and not stop.found:
            size = rng.randint(1, 3)
            shown += stop.add(text[at : at + size])
            at += size
        shown += stop.rest()
        seen = text[:at]
        first = min((seen.index(word) for word in stops if word in seen), default=None)
        assert shown == (text if first is None else text[:first])
