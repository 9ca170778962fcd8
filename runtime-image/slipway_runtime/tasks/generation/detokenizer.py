"""Ids → text, one at a time, never half a character.

A token's text depends on its neighbours: spaces of sentencepiece, bytes of one character in several tokens. So the
last few tokens are always decoded together and only what is new is given out, as text-generation-inference does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from transformers import TokenizersBackend

_CONTEXT = 6  # tokens before, which settle spaces
_LONGEST = 16  # tokens decoded together: when there are more, all but the last few are forgotten
_CHARACTER = 4  # bytes of one in UTF-8
_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what an unfinished character decodes to
_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Detokenizer:
    """One answer's text. `before`: the prompt's ids, after which it begins."""

    def __init__(self, tokenizer: Any, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._decode_ids = _decoder_of(tokenizer)
        self._window, self._shown = self._context(list(before[-_CONTEXT - _CHARACTER :]))

    def add(self, token: int) -> str:
        """The text that this token adds; empty while its character is not whole, and for special tokens."""
        self._window.append(token)
        text = self._decode(self._window)
        whole = len(text) - self._broken(text, token)
        new = text[self._shown : whole]
        self._shown = max(self._shown, whole)
        if whole == len(text) and len(self._window) > _LONGEST:
            self._window, self._shown = self._context(self._window)
        return new

    def alone(self, token: int) -> str:
        """What a token would add here, special ones and halves of characters too."""
        before = len(self._decode(self._window, special=True))
        return self._decode([*self._window, token], special=True)[before:]

    def _context(self, ids: list[int]) -> tuple[list[int], int]:
        """The last few of `ids`, and the length of their text. They do not begin within a character."""
        for start in range(max(0, len(ids) - _CONTEXT), max(-1, len(ids) - _CONTEXT - _CHARACTER), -1):
            text = self._decode(ids[start:])
            if not text.startswith(_BROKEN):
                return ids[start:], len(text)
        return ids, len(self._decode(ids))

    def _broken(self, text: str, token: int) -> int:
        """Characters at the end that the next token may still mend. Byte-level vocabularies have one such; with
        sentencepiece's <0xE2> a whole run of bytes is broken until its last character is whole."""
        run = len(text) - len(text.rstrip(_BROKEN))
        if run > 1 and not _BYTE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(token))):
            return 1
        return run

    def _decode(self, ids: list[int], *, special: bool = False) -> str:
        return self._decode_ids(ids, skip_special_tokens=not special)


def _decoder_of(tokenizer: Any) -> Callable[..., str]:
    """transformers' own way takes twice as long, to see which kind of input it was given."""
    kind, usual = type(tokenizer), TokenizersBackend
    if isinstance(tokenizer, usual) and kind.decode is usual.decode and kind._decode is usual._decode:
        decode: Callable[..., str] = tokenizer.backend_tokenizer.decode
        return decode
    return partial(tokenizer.decode, clean_up_tokenization_spaces=False)
