"""Words with their places on a page → windows of tokens, and back from scores of tokens to answers.

As transformers' document-question-answering pipeline does it. The words come with the request: no OCR is here.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.scores import softmax
from slipway_runtime.tasks.texts import kind_of

Box = tuple[int, int, int, int]
_ENTRY = "[word, [x0, y0, x1, y1]] with numbers from 0 to 1000"
_SEPARATOR_BOX, _NO_BOX = (1000, 1000, 1000, 1000), (0, 0, 0, 0)


@dataclass(frozen=True)
class Words:
    """What stands on a page, in reading order."""

    words: tuple[str, ...]
    boxes: tuple[Box, ...]
    """Corners, left and top first, in thousandths of the page."""


@dataclass(frozen=True)
class Window:
    """The question with as much of the page as the model reads at once."""

    page: Words
    ids: list[int]
    types: list[int]
    boxes: list[Box]
    words: list[int | None]
    """The page's word of each token; None for the question's and special ones."""
    open: Any
    """[tokens] of bool: what an answer's scores are spread over, the page's tokens and [CLS]."""


@dataclass(frozen=True)
class Answer:
    """Words `start` to `end` of the page."""

    score: float
    start: int
    end: int
    text: str


def words_of(value: object, field: str) -> Words:
    """The parameter `word_boxes`. Raises InvalidInput."""
    if not isinstance(value, list) or not value:
        raise InvalidInput(
            field, f"must be a list of {_ENTRY}, got {'an empty list' if value == [] else kind_of(value)}"
        )
    words, boxes = [], []
    for i, entry in enumerate(value):
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise InvalidInput(f"{field}[{i}]", f"must be {_ENTRY}")
        words.append(entry[0])
        boxes.append(_box(entry[1], f"{field}[{i}][1]"))
    return Words(tuple(words), tuple(boxes))


def _box(value: object, field: str) -> Box:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise InvalidInput(field, "must be four numbers, [x0, y0, x1, y1]")
    x0, y0, x1, y1 = (round(n) for n in numbers)
    if not (0 <= x0 <= x1 <= 1000 and 0 <= y0 <= y1 <= 1000):
        raise InvalidInput(
            field, f"is {[x0, y0, x1, y1]}; from 0 to 1000 of the page's width and height, left and top first"
        )
    return x0, y0, x1, y1


class PageReader:
    """A tokenizer that reads a question beside a page. Safe in several threads."""

    def __init__(self, tokenizer: Any, limit: int, *, with_boxes: bool, max_windows: int) -> None:
        self.limit = limit
        self._max_windows = max_windows
        self._tokenizer = copy.deepcopy(tokenizer)  # truncation is a state of the object below it
        self._lock = threading.Lock()
        self._with_boxes = with_boxes
        """The tokenizer itself takes the boxes, as LayoutLMv3's does."""

    def windows(self, question: str, page: Words, field: str, most: int | None, stride: int | None) -> list[Window]:
        """All windows of `most` tokens, which share `stride` of them. Raises InvalidInput."""
        limit = min(most or self.limit, self.limit)
        with self._lock:
            # How many tokens are left for the page; the tokenizer panics when they are fewer than the stride.
            backend = self._tokenizer.backend_tokenizer
            backend.no_truncation()
            asked = len(backend.encode(question, add_special_tokens=False).ids)
            room = limit - asked - backend.num_special_tokens_to_add(True)
            if room < 1:
                raise InvalidInput(
                    field, f"has {limit - room} tokens, of the model's {limit} none are left for the page"
                )
            if stride is not None and stride >= room:
                raise InvalidInput(
                    "parameters.doc_stride",
                    f"is {stride}; beside this question a window holds {room} tokens of the page",
                )
            stride = min(limit // 2, 256, room - 1) if stride is None else stride
            tokens = len(backend.encode(list(page.words), is_pretokenized=True, add_special_tokens=False).ids)
            count = -(-(tokens - stride) // (room - stride))
            if count > self._max_windows:  # before they are made: many that overlap much take much memory
                raise InvalidInput(
                    "word_boxes",
                    f"takes {count} windows of {limit} tokens, at most {self._max_windows} are allowed; send fewer "
                    "words, or a smaller doc_stride",
                )
            encoded = self._encode(question, page, limit, stride)
        return [self._window(encoded, i, page) for i in range(len(encoded["input_ids"]))]

    def _encode(self, question: str, page: Words, limit: int, stride: int) -> Any:
        words, boxes = list(page.words), [list(box) for box in page.boxes]
        own: dict[str, Any] = {"text": question.split(), "text_pair": words, "is_split_into_words": True}
        if self._with_boxes:
            own = {"text": [question], "text_pair": [words], "boxes": [boxes]}
        return self._tokenizer(
            **own,
            truncation="only_second",
            max_length=limit,
            stride=stride,
            return_token_type_ids=True,
            return_overflowing_tokens=True,
            padding=False,
        )

    def _window(self, encoded: Any, i: int, page: Words) -> Window:
        tokenizer = self._tokenizer
        ids, sequences = list(encoded["input_ids"][i]), encoded.sequence_ids(i)
        words = [word if part == 1 else None for word, part in zip(encoded.word_ids(i), sequences, strict=True)]
        boxes = [
            page.boxes[word] if word is not None else _SEPARATOR_BOX if token == tokenizer.sep_token_id else _NO_BOX
            for token, word in zip(ids, words, strict=True)
        ]
        if self._with_boxes:
            boxes = [tuple(box) for box in encoded["bbox"][i]]
        open_ = [word is not None or token == tokenizer.cls_token_id for token, word in zip(ids, words, strict=True)]
        return Window(page, ids, list(encoded["token_type_ids"][i]), boxes, words, np.array(open_))


def answers(
    scored: Iterable[tuple[Window, Any, Any]], *, top_k: int, max_answer_len: int, or_none: bool
) -> list[Answer]:
    """(window, start logits, end logits) of one page → answers, best first. `or_none`: "" may be one of them."""
    found: list[Answer] = []
    no_answer = 1e6
    for window, start_logits, end_logits in scored:
        start, end = (softmax(np.where(window.open, logits, -10000.0)) for logits in (start_logits, end_logits))
        if or_none:
            no_answer = min(no_answer, float(start[0] * end[0]))
        start[0] = end[0] = 0.0  # [CLS]
        spans = np.tril(np.triu(np.outer(start, end)), max_answer_len - 1)
        found += _best(spans, window, top_k)
    if or_none:
        found.append(Answer(no_answer, 0, 0, ""))
    return sorted(found, key=lambda answer: -answer.score)[:top_k]


def _best(spans: Any, window: Window, top_k: int) -> list[Answer]:
    made = []
    for place in np.argsort(-spans, axis=None, kind="stable")[:top_k]:
        i, j = np.unravel_index(place, spans.shape)
        first, last = window.words[int(i)], window.words[int(j)]
        if first is not None and last is not None:
            text = " ".join(window.page.words[first : last + 1])
            made.append(Answer(float(spans[i, j]), first, last, text))
    return made


def padded(rows: Sequence[Sequence[Any]], pad: Any) -> Any:
    """Lists of different lengths → one array of int64, filled up with `pad` at the end."""
    longest = max(len(row) for row in rows)
    return np.array([[*row, *[pad] * (longest - len(row))] for row in rows], dtype=np.int64)
