"""What the page takes from a model card: samples, as data. A card cannot run or blow up anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from slipway_runtime.serve.page.card import MAX_FRONT_MATTER, MAX_SAMPLES, read_card


def samples(folder: Path, front: str) -> list[dict[str, object]]:
    (folder / "README.md").write_text(f"---\n{front}\n---\n# Card\n")
    return read_card(folder).samples


def test_samples_of_every_form_are_read(tmp_path: Path) -> None:
    front = """
license: mit
widget:
- text: I love you
  example_title: Love
- "a bare text"
- text: Who am I?
  context: You are John.
- source_sentence: a
  sentences: [b, c]
- src: https://example.com/cat.jpg
  candidate_labels: cat, dog
tags:
- a
"""
    assert samples(tmp_path, front) == [
        {"text": "I love you", "example_title": "Love"},
        {"text": "a bare text"},
        {"text": "Who am I?", "context": "You are John."},
        {"source_sentence": "a", "sentences": ["b", "c"]},
        {"candidate_labels": "cat, dog"},
    ]


@pytest.mark.parametrize(
    "front",
    [
        "widget: no list",
        "- a list",
        "widget: [unclosed",
        "widget:\n- !!python/object/apply:os.system ['touch canary']",
        "widget:\n- text: !!python/object/new:os.system ['touch canary']",
        "widget:\n- 7\n- [a]\n- null\n- {}",
        "widget:\n- text: 2020-01-01\n  example_title: !!binary aGk=",
        "widget:\n- text: &a hello\n- text: *a",
    ],
)
def test_anything_else_is_no_sample(tmp_path: Path, front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert samples(tmp_path, front) == []
    assert not (tmp_path / "canary").exists()


def test_aliases_that_would_fill_the_memory_are_not_followed(tmp_path: Path) -> None:
    bomb = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"{b}: &{b} [{', '.join(['*' + a] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    started = time.monotonic()
    assert samples(tmp_path, "\n".join([*bomb, "widget:", "- text: *i"])) == []
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("piece", ["[", "{a: ", "- ", "? ", "a: ", "[a,"])
def test_deep_nesting_is_no_sample_and_costs_no_time(tmp_path: Path, piece: str) -> None:
    started = time.monotonic()
    assert samples(tmp_path, "widget:\n- text: " + piece * 4000) == []
    assert samples(tmp_path, "\n".join(["widget:", *(" " * i + "a:" for i in range(300))])) == []
    assert time.monotonic() - started < 2


def test_numbers_and_sizes_are_bounded(tmp_path: Path) -> None:
    assert len(samples(tmp_path, "widget:\n" + "- a text\n" * 100)) == MAX_SAMPLES
    assert samples(tmp_path, f"widget:\n- text: {'x' * 20_000}\n- text: short") == [{"text": "short"}]
    assert samples(tmp_path, f"# {'x' * MAX_FRONT_MATTER}\nwidget:\n- text: a") == []
    assert samples(tmp_path, "widget:\n- text: a\n" + "- text: b\n" * 5200) == []


def test_a_model_without_a_card_has_no_samples(tmp_path: Path) -> None:
    card = read_card(tmp_path)
    assert (card.samples, card.mask_token, card.chat) == ([], None, False)


def test_the_mask_and_the_chat_template_are_found(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"mask_token": {"content": "<mask>"}, "chat_template": "x"}')
    card = read_card(tmp_path)
    assert (card.mask_token, card.chat) == ("<mask>", True)
