"""One answer while it grows. The engine gives it logits; everything else about it is here."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Any

import torch

from slipway_runtime.errors import InferenceFailed, RequestError
from slipway_runtime.tasks.adapter import Listener
from slipway_runtime.tasks.generated import FinishReason, Generated, Token
from slipway_runtime.tasks.generation.detokenizer import Detokenizer
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sampling import Chooser
from slipway_runtime.tasks.generation.stopping import StopStrings

_BLOCK = 128

logger = logging.getLogger("slipway_runtime")


@dataclass(frozen=True)
class Vocabulary:
    """What ids mean."""

    tokenizer: Any
    special: frozenset[int]
    ends: frozenset[int]
    """Ids of any of which an answer ends."""

    @classmethod
    def of(cls, tokenizer: Any, ends: Several[int]) -> Vocabulary:
        return cls(tokenizer, frozenset(tokenizer.all_special_ids) | frozenset(ends), frozenset(ends))


class Sequence:
    """`advance` all of a batch until they are `done`, then `result`."""

    def __init__(
        self, prompt: Prompt, vocabulary: Vocabulary, listener: Listener, *, before: Several[int] | None = None
    ) -> None:
        """`before`: the ids that the answer follows, where they are not the prompt's: a decoder's first."""
        follows = list(prompt.ids if before is None else before)
        self._prompt = prompt
        self._vocabulary = vocabulary
        self._listener = listener
        self._chooser = Chooser(prompt.sampling, follows, vocabulary.ends)
        self._words = Detokenizer(vocabulary.tokenizer, follows)
        self._stop = StopStrings(prompt.stop)
        self._tokens: list[Token] = []
        self._text = ""
        self._released = 0
        self._failed: Exception | None = None
        self._finish: FinishReason | None = None
        self.emitted = False
        """Whether the caller has seen a part of it."""
        self.prefill: tuple[Token, ...] = ()
        self.cached: int | None = None
        """Tokens of the prompt that were not read, as an earlier prompt began so. None: nobody looked."""

    @property
    def done(self) -> bool:
        """No more steps: it ended, failed, or its caller has gone."""
        return self._finish is not None or self._failed is not None or self._listener.gone

    @property
    def failed(self) -> bool:
        """Whether its result is an error."""
        return self._failed is not None

    @property
    def last(self) -> int:
        """The token that was taken last."""
        return self._tokens[-1].id

    @property
    def ids(self) -> list[int]:
        """The tokens taken so far."""
        return [token.id for token in self._tokens]

    def fail(self, error: Exception) -> None:
        """End it; `error` is its result."""
        self._failed = error

    @property
    def takes_the_likeliest(self) -> bool:
        """Whether its next token is the likeliest, whatever came before."""
        return self._chooser.takes_the_likeliest

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, from the model's logits [vocabulary]. Raises InferenceFailed."""
        return self._chooser.choose(logits)

    def take(self, chosen: int, logprobs: torch.Tensor, logprob: float) -> None:
        """Add a token and give its text out. `logprobs` [vocabulary]: the model's own, of which its own is `logprob`.

        Raises InferenceFailed.
        """
        if not math.isfinite(logprob):
            raise InferenceFailed("the model's output is not a number; its weights may not suit this precision")
        if not self._tokens:
            self._listener.first_token = time.monotonic()
        top = self._top(logprobs)
        special = chosen in self._vocabulary.special
        word = self._words.alone(chosen) if special else ""
        new = "" if chosen in self._vocabulary.ends else self._words.add(chosen)
        self._finish = self._ending(chosen, self._stop.add(new))
        token = Token(
            id=chosen,
            text=self._release(),
            logprob=logprob,
            special=special,
            top=top,
            last=self._finish is not None,
            piece=word or new or self._words.alone(chosen),
        )
        self._tokens.append(token)
        if self._listener.wanted:
            self._listener.emit(token)
            self.emitted = True

    def result(self) -> Generated | Exception:
        """The whole answer; where it was broken off, as far as it came."""
        if self._failed is not None:
            return self._failed
        reader = self._prompt.calls
        text, calls = reader.read(self._text) if reader is not None else (self._text, ())
        sampling = self._prompt.sampling
        return Generated(
            text=text,
            finish_reason=self._finish or "length",
            tokens=tuple(self._tokens),
            prompt_tokens=len(self._prompt.ids),
            cached_tokens=self.cached,
            prompt=self._prompt.text,
            prefill=self.prefill,
            seed=sampling.seed if sampling.sample else None,
            tool_calls=calls,
        )

    def _ending(self, chosen: int, certain: str) -> FinishReason | None:
        """Why it ends with this token, None where it goes on; adds to the text what is certain by then."""
        self._text += certain
        if self._stop.found:
            return "stop_sequence"
        ended = chosen in self._vocabulary.ends or self._chooser.grammar_ended
        if not ended and len(self._tokens) + 1 < self._prompt.max_new_tokens:
            return None
        self._text += self._stop.rest()
        return "eos_token" if ended else "length"

    def _release(self) -> str:
        """What of the text may be shown now and was not yet."""
        calls, text = self._prompt.calls, self._text
        if calls is not None:
            text = calls.read(text)[0] if self._finish else text[: calls.releasable(text)]
        new, self._released = text[self._released :], max(self._released, len(text))
        return new

    def _top(self, logprobs: torch.Tensor) -> tuple[Token, ...]:
        if not self._prompt.top_n_tokens:
            return ()
        values, ids = logprobs.topk(min(self._prompt.top_n_tokens, len(logprobs)))
        return tuple(self._alone(token, value) for token, value in zip(ids.tolist(), values.tolist(), strict=True))

    def _alone(self, token: int, logprob: float) -> Token:
        text = self._words.alone(token)
        return Token(token, text, logprob, special=token in self._vocabulary.special, piece=text)


def advance(sequences: Several[Sequence], logits: torch.Tensor) -> None:
    """One step: each takes its next token from its row of the model's logits [rows, vocabulary].

    What is needed of all rows is found for all at once: a Python step per row costs more than these.
    """
    logits = logits.float()
    logprobs = logits.log_softmax(-1)
    tokens: list[int] = likeliest(logits).tolist()
    for row, sequence in enumerate(sequences):
        if not sequence.takes_the_likeliest:
            try:
                tokens[row] = sequence.choose(logits[row])
            except Exception as error:
                sequence.fail(inference_failed(error))
    chosen = logprobs.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    for row, sequence in enumerate(sequences):
        if not sequence.failed:
            try:
                sequence.take(tokens[row], logprobs[row], chosen[row])
            except Exception as error:
                sequence.fail(inference_failed(error))


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """`argmax` of each row, in two steps on a processor: torch finds a maximum 17 times faster than its place."""
    count, size = logits.shape
    whole = size - size % _BLOCK
    if logits.device.type != "cpu" or size < _BLOCK * _BLOCK:
        return logits.argmax(-1)
    blocks = logits[:, :whole].reshape(count, -1, _BLOCK)
    best, block = blocks.amax(-1).max(-1)
    found: torch.Tensor = block * _BLOCK + blocks[torch.arange(count), block].argmax(-1)
    if whole == size:
        return found
    rest, place = logits[:, whole:].max(-1)
    return torch.where(rest > best, whole + place, found)


def inference_failed(error: Exception) -> RequestError:
    """What a caller is told of it."""
    if isinstance(error, RequestError):
        return error
    logger.error("an answer failed", exc_info=error)
    return InferenceFailed(f"the model failed on this input ({type(error).__name__})")
