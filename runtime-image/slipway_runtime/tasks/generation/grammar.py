"""Answers that follow a grammar: a JSON schema or a regular expression, by llguidance.

JSON is written without line breaks and with single blanks: a small model otherwise loses itself in white space.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from slipway_runtime.errors import InvalidInput

# Compiling takes up to the square of the size; real schemas have a few thousand bytes.
MAX_SCHEMA = 65536
MAX_REGEX = 8192
# Errors without the schema in them: they go to callers.
_LIMITS = LLParserLimits(verbose_errors=False)
_LAYOUT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True)
class Grammar:
    """A grammar compiled for a tokenizer."""

    source: str
    tokenizer: LLTokenizer
    field: str
    """Of the request, that it came in."""

    def matcher(self) -> Matcher:
        """A new answer's."""
        return Matcher(LLMatcher(self.tokenizer, self.source, limits=_LIMITS), self.field)


class Matcher:
    """Where an answer is in its grammar."""

    def __init__(self, matcher: LLMatcher, field: str) -> None:
        self._matcher = matcher
        self._field = field

    @property
    def ended(self) -> bool:
        return self._matcher.is_stopped()

    def allowed(self, vocabulary: int) -> torch.Tensor:
        """Which tokens may come next, bool [vocabulary]. Raises InvalidInput."""
        known = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8) > 0
        self._check()
        if len(known) >= vocabulary:
            return known[:vocabulary]
        return torch.cat([known, torch.zeros(vocabulary - len(known), dtype=torch.bool)])

    def take(self, token: int) -> None:
        """Raises InvalidInput."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """Some grammars show only while an answer is written that this model's tokens cannot follow them."""
        if self._matcher.is_error():
            raise InvalidInput(self._field, f"cannot be followed: {short(self._matcher.get_error())}")


class Grammars:
    """Compiles grammars for one model. Its tokenizer is read at the first: that takes a second."""

    def __init__(self, tokenizer: Any, ends: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._ends = sorted(ends)
        self._lock = threading.Lock()
        self._made: LLTokenizer | None = None

    def json(self, schema: Any, field: str) -> Grammar:
        """`schema`: an object, true, or either written as a string. Raises InvalidInput."""
        try:
            schema = json.loads(schema) if isinstance(schema, str) else schema
            written = json.dumps(schema, allow_nan=False)
        except (ValueError, RecursionError):
            raise InvalidInput(field, "is no JSON schema: it cannot be read as JSON") from None
        if not isinstance(schema, dict):
            raise InvalidInput(field, "must be a JSON schema, an object")
        if len(written) > MAX_SCHEMA:
            raise InvalidInput(field, f"is a schema of {len(written)} bytes, at most {MAX_SCHEMA} are compiled")
        if any(len(text) > MAX_REGEX for text in _patterns(schema)):
            raise InvalidInput(field, f"has a pattern longer than {MAX_REGEX} characters")
        return self._compiled(LLMatcher.grammar_from_json_schema(written, overrides=_LAYOUT), field)

    def regex(self, pattern: Any, field: str) -> Grammar:
        """Raises InvalidInput."""
        if not isinstance(pattern, str) or not pattern:
            raise InvalidInput(field, "must be a regular expression, a string that is not empty")
        if len(pattern) > MAX_REGEX:
            raise InvalidInput(field, f"has {len(pattern)} characters, at most {MAX_REGEX} are compiled")
        return self._compiled(LLMatcher.grammar_from_regex(pattern), field)

    def _compiled(self, source: str, field: str) -> Grammar:
        tokenizer = self._read()
        wrong, why = LLMatcher.validate_grammar_with_warnings(source, tokenizer, limits=_LIMITS)
        if wrong:
            raise InvalidInput(field, f"cannot be followed: {short(why[0])}")
        matcher = LLMatcher(tokenizer, source, limits=_LIMITS)
        matcher.compute_logit_bias()  # what can be written and not be followed, as a schema that is only itself
        if matcher.is_error():
            raise InvalidInput(field, f"cannot be followed: {short(matcher.get_error())}")
        return Grammar(source, tokenizer, field)

    def _read(self) -> LLTokenizer:
        with self._lock:
            if self._made is None:
                try:
                    self._made = from_tokenizer(self._tokenizer, eos_token=self._ends or None)
                except Exception:
                    raise InvalidInput(
                        "parameters.grammar", "is not possible with this model's tokenizer; leave it out"
                    ) from None
            return self._made


def _patterns(schema: Any) -> Iterator[str]:
    """Regular expressions in a schema, at any depth."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from (value for name, value in one.items() if name == "pattern" and isinstance(value, str))
            names = one.get("patternProperties")
            yield from names if isinstance(names, dict) else ()
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def short(reason: str) -> str:
    """llguidance's first line."""
    return next((line.strip() for line in reason.splitlines() if line.strip()), "no reason given")[:200]
