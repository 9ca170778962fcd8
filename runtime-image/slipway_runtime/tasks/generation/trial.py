"""A few answers in a batch against those of the model alone: some begin while others run, some end before, some go on
from what others have read or written, some have images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Several
from typing import Any

import torch

from slipway_runtime.tasks.adapter import Forward, Item
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.answers import Answers
from slipway_runtime.tasks.generation.continuous import ContinuousBatches
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sampling import Sampling
from slipway_runtime.tasks.loading import Network

PART = 8  # tokens of the trial's longest prompt, so that reading in parts is tried too
_TOP = 8  # logits to compare at each place
BLOCK = 4  # tokens, of what is shared in the trial
# (tokens, new tokens, with how many tokens of the first it begins)
_FIRST = ((9, 5, 9), (5, 3, 0))
_LATER = ((22, 4, 8),)
_LAST = ((11, 3, 8),)
_SHARED = 8 + 12 + 7  # tokens not to be read: of the long prompt; of a chat and of the last one, read together
# Of a log probability. Rounding moves it by less, another position or a wrong mask by far more.
_TOLERANCE = 2e-3
_ROUGH_TOLERANCE = 0.25  # of weights in half precision or int8

logger = logging.getLogger("slipway_runtime")


class Trial:
    """A few prompts, and what the model says of each alone."""

    def __init__(self, network: Network, answers: Answers) -> None:
        self._answers = answers
        fine = {torch.float32, torch.float64} >= {weight.dtype for weight in network.model.parameters()}
        self._tolerance = _TOLERANCE if fine else _ROUGH_TOLERANCE
        size = min(int(network.config.get_text_config().vocab_size), len(answers.vocabulary.tokenizer))
        self._ids = [one for one in range(size) if one not in answers.vocabulary.special] or [0]

    def differs(self, forward: Forward) -> str:
        """In which way its answers are not those of the model alone; empty where they are."""
        first, later = self._prompts(_FIRST), self._prompts(_LATER)
        if not isinstance(forward, ContinuousBatches):
            prompts = [*first, *later]
            return self._difference(
                "a padded batch",
                lambda: list(zip(prompts, forward([_item(forward, one) for one in prompts]), strict=True)),
                self._distance,
            )
        script = _Script(forward, first)
        # By the fifth call the first answer has ended, and the longest prompt has been read.
        script.waves = {3: lambda: later, 5: lambda: self._going_on(first[0], script.found(first[0]))}
        if forward.prefixes is None:
            return self._difference("a running batch", script.run, self._distance)
        reason = self._difference("a prefix-sharing batch", script.run, self._distance)
        if not reason and sum(output.cached_tokens for _, output in script.answered) < _SHARED:
            return "its trial had too little memory for what is shared"
        return reason

    def differs_with_images(self, alone: Forward, pictured: Several[Prompt]) -> str:
        """The same of prompts with images that run beside others, against what `alone` writes."""
        first, other = self._prompts(_FIRST)
        script = _Script(ContinuousBatches(self._answers, part=PART), [first])
        script.waves = {2: lambda: [_prompt(one.ids, 4, one.extra) for one in pictured], 4: lambda: [other]}

        def distance(prompt: Prompt, output: Generated | Exception) -> float:
            if not prompt.extra:
                return self._distance(prompt, output)
            return _apart(alone([_item(alone, prompt)])[0], output)

        return self._difference("a running batch with images", script.run, distance)

    def _difference(
        self,
        batch: str,
        run: Callable[[], list[tuple[Prompt, Any]]],
        distance: Callable[[Prompt, Any], float],
    ) -> str:
        try:
            wrong = max(distance(prompt, output) for prompt, output in run())
        except Exception as error:
            logger.info("a trial of batches ended", exc_info=error)
            return f"its trial ended in {type(error).__name__}"
        return "" if wrong <= self._tolerance else f"in {batch} its log probabilities move by {wrong:.2g}"

    def _prompts(self, sizes: Several[tuple[int, int, int]]) -> list[Prompt]:
        found = []
        for length, new, same in sizes:
            own = 31 * length
            ids = [7 + (0 if place < same else own) + 13 * place * place for place in range(length)]
            found.append(_prompt([self._ids[one % len(self._ids)] for one in ids], new))
        return found

    def _going_on(self, first: Prompt, output: Generated) -> list[Prompt]:
        """From an answer, as a chat does, and from prompts: read together, with different amounts of it found."""
        return [_prompt([*first.ids, *(token.id for token in output.tokens), *first.ids[:2]], 3), *self._prompts(_LAST)]

    def _distance(self, prompt: Prompt, output: Generated | Exception) -> float:
        """How far the log probabilities of an answer are from those of one forward over it and its prompt."""
        if isinstance(output, Exception):
            raise output
        ids = torch.tensor([[*prompt.ids, *(token.id for token in output.tokens[:-1])]], device=self._answers.device)
        with torch.inference_mode():
            made = self._answers.model(input_ids=ids, attention_mask=torch.ones_like(ids))
            logprobs = made.logits[0, len(prompt.ids) - 1 :].float().log_softmax(-1).cpu()
        return _largest(
            [
                abs(one.logprob - float(row[one.id]))
                for row, token in zip(logprobs, output.tokens, strict=True)
                for one in (token, *token.top)
            ]
        )


class _Script:
    """A feed that gives further prompts while the first ones run."""

    def __init__(self, forward: ContinuousBatches, first: Several[Prompt]) -> None:
        self._forward = forward
        self._first = first
        self._calls = 0
        self.waves: Mapping[int, Callable[[], Several[Prompt]]] = {}
        """By the call at which they come."""
        self.answered: list[tuple[Prompt, Any]] = []

    def run(self) -> list[tuple[Prompt, Any]]:
        """All prompts with their answers."""
        self._forward.run([_item(self._forward, one) for one in self._first], self)
        return self.answered

    def found(self, prompt: Prompt) -> Any:
        """Its answer."""
        return next(output for one, output in self.answered if one is prompt)

    def more(self, fits: Callable[[Item], bool]) -> list[Item]:
        self._calls += 1
        wave = self.waves.get(self._calls, list)()
        return [item for item in (_item(self._forward, one) for one in wave) if fits(item)]

    def done(self, item: Item, output: Any) -> None:
        self.answered.append((item.data, output))


def _apart(expected: Any, output: Any) -> float:
    """How far the log probabilities of two answers are from each other, as far as both have the same tokens."""
    for one in (expected, output):
        if isinstance(one, Exception):
            raise one
    moved = []
    for steps, (one, other) in enumerate(zip(expected.tokens, output.tokens, strict=False)):
        likely = {token.id: token.logprob for token in (one, *one.top)}
        moved += [abs(token.logprob - likely[token.id]) for token in (other, *other.top) if token.id in likely]
        if one.id != other.id:
            return _largest(moved) if steps > 1 else float("inf")
    return _largest(moved)


def _largest(moved: Several[float]) -> float:
    return float("inf") if any(math.isnan(distance) for distance in moved) else max(moved)


def _prompt(ids: Several[int], new: int, extra: Mapping[str, Any] | None = None) -> Prompt:
    # No end comes before its time.
    sampling = Sampling(min_new_tokens=new)
    return Prompt(ids, max_new_tokens=new, sampling=sampling, top_n_tokens=_TOP, extra=extra or {})


def _item(forward: Forward, prompt: Prompt) -> Item:
    return Item(forward=forward, length=len(prompt.ids), data=prompt, room=prompt.max_new_tokens)
