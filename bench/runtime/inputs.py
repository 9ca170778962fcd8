"""What is asked: texts of log-normal length, prompts of uniform length, out of words that are one token each.

Each block of BLOCK inputs has the same lengths in another order: windows of a few seconds then differ by what is
measured, not by what they happened to draw.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".cache/bench"
FOLDERS = {name: MADE / name for name in ("classification", "embeddings", "generation")}
"""The models by workload, made by bench/runtime/models.py."""
BLOCK = 512
LEAST, MOST, MEAN = 4, 200, 23.5
"""Tokens of a text, special ones included."""
SIGMA = 0.85
"""Of the logarithm of the lengths: half of the texts have 9 to 29 tokens, one in a hundred over 110."""
PROMPT = (16, 64)
NEW_TOKENS = 32
"""That a prompt is answered with."""
SPECIAL = 2
"""[CLS] and [SEP]."""


@cache
def text_lengths() -> tuple[int, ...]:
    """BLOCK quantiles of the log-normal distribution, bounded, with the mean MEAN."""
    quantiles = [NormalDist().inv_cdf((i + 0.5) / BLOCK) for i in range(BLOCK)]
    low, high = 0.0, math.log(MOST)
    while high - low > 1e-6:  # the bounds move the mean, so mu is searched for
        mu = (low + high) / 2
        lengths = [min(MOST, max(LEAST, round(math.exp(mu + SIGMA * q)))) for q in quantiles]
        low, high = (mu, high) if sum(lengths) / BLOCK < MEAN else (low, mu)
    return tuple(lengths)


@cache
def prompt_lengths() -> tuple[int, ...]:
    """Evenly from the shortest to the longest."""
    least, most = PROMPT
    return tuple(least + i % (most - least + 1) for i in range(BLOCK))


class Source:
    """Endless inputs, none twice. Equal seeds give equal inputs."""

    def __init__(self, words: Sequence[str], workload: str, seed: int) -> None:
        self._words = words
        self._prompts = workload == "generation"
        self._draw = random.Random(seed)  # noqa: S311 - words for a bench
        self._given: set[str] = set()
        self._lengths: Iterator[int] = iter(())

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> str:
        length = next(self._lengths, 0)
        if not length:
            block = list(prompt_lengths() if self._prompts else text_lengths())
            self._draw.shuffle(block)
            self._lengths = iter(block)
            length = next(self._lengths)
        while True:
            words = self._draw.choices(self._words, k=length if self._prompts else length - SPECIAL)
            # A blank before each word of a prompt, the first too: only so is it one token.
            text = "".join(f" {word}" for word in words) if self._prompts else " ".join(words)
            if text not in self._given:
                self._given.add(text)
                return text

    def some(self, count: int) -> list[str]:
        """The next ones."""
        return [next(self) for _ in range(count)]


def words(folder: Path) -> list[str]:
    """One token each; they lie beside the model, and are written last."""
    return (folder / "words.txt").read_text().split()


def made() -> bool:
    """Whether all models are there."""
    return all((folder / "words.txt").exists() for folder in FOLDERS.values())
