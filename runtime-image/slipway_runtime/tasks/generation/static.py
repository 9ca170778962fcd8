"""Static batches, for models that continuous batching does not suit: padded, and a row that has ended stays as padding
until the last one has.

transformers' own `generate` drives the model, so that caches, positions and masks are right for every architecture; it
only ever sees the tokens that each Sequence has taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence as Several
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from slipway_runtime.errors import InferenceFailed
from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.generation.answers import Answers
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sequence import Sequence, advance

logger = logging.getLogger("slipway_runtime")


class StaticBatches:
    """A forward. `rows`: most in one batch, 1 for one by one. `positions`: how many the model has, None: any number."""

    def __init__(self, answers: Answers, rows: int, positions: int | None) -> None:
        self._answers = answers
        self.rows = rows
        self._positions = positions
        own = answers.model.generation_config
        # Nothing of the repository's own settings may move the logits; what begins a decoder stays.
        answers.model.generation_config = _config(
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
            pad_token_id=answers.pad,
        )

    def __call__(self, items: Several[Item]) -> list[Generated | Exception]:
        """One answer per item; an exception for one that failed alone."""
        outputs: dict[int, Generated | Exception] = {}
        for group in self._groups([item.data for item in items]):
            outputs.update(zip(group, self._written([items[i] for i in group]), strict=True))
        return [outputs[i] for i in range(len(items))]

    def _groups(self, prompts: Several[Prompt]) -> list[list[int]]:
        """Which prompts run together: a row that has ended is padded until the last one has, and its positions have to
        stay within the model's."""
        groups: list[list[int]] = []
        for i, prompt in enumerate(prompts):
            fitting = (group for group in groups if self._fits(prompt, [prompts[other] for other in group]))
            group = next(fitting, None)
            if group is None:
                groups.append([i])
            else:
                group.append(i)
        return groups

    def _fits(self, prompt: Prompt, others: Several[Prompt]) -> bool:
        every = (prompt, *others)
        if len(every) > self.rows or any(one.extra for one in every):
            return False
        longest = max(len(one.ids) for one in every) + max(one.max_new_tokens for one in every)
        if not self._answers.fits(len(every), longest):
            return False
        return self._positions is None or self._answers.decoder_start is not None or longest <= self._positions

    def _written(self, items: Several[Item]) -> list[Generated | Exception]:
        sequences: list[Sequence] = []
        try:
            with torch.inference_mode():
                sequences += [self._answers.begin(item) for item in items]
                self._generate([item.data for item in items], sequences)
        except Exception as error:
            if not any(sequence.emitted for sequence in sequences):
                raise  # run again one by one, see serve/inference/batcher.py
            logger.error("a generation failed in its middle", exc_info=error)
            return [InferenceFailed(f"the model failed while it wrote ({type(error).__name__})") for _ in items]
        return [sequence.result() for sequence in sequences]

    def _generate(self, prompts: Several[Prompt], sequences: list[Sequence]) -> None:
        answers = self._answers
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.full((len(prompts), longest), answers.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            # What a decoder reads ends where its answer begins; an encoder counts positions from the left.
            start = longest - len(prompt.ids) if answers.decoder_start is None else 0
            place = slice(start, start + len(prompt.ids))
            ids[row, place] = torch.tensor(prompt.ids)
            mask[row, place] = 1
        extra = {name: value.to(answers.device) for name, value in prompts[0].extra.items()}
        answers.model.generate(
            input_ids=ids.to(answers.device),
            attention_mask=mask.to(answers.device),
            generation_config=_config(
                do_sample=False,
                max_new_tokens=max(prompt.max_new_tokens for prompt in prompts),
                pad_token_id=answers.pad,
            ),
            logits_processor=LogitsProcessorList([_Steps(sequences, answers.pad)]),
            stopping_criteria=StoppingCriteriaList([_Done(sequences)]),
            **extra,
        )


class _Steps(LogitsProcessor):
    """Where `generate` asks for scores it gets the token that each sequence took, as the only one possible."""

    def __init__(self, sequences: list[Sequence], pad: int) -> None:
        self._sequences = sequences
        self._pad = pad

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - its own ids
        going = [row for row, sequence in enumerate(self._sequences) if not sequence.done]
        if going:
            logits = scores if len(going) == len(scores) else scores[going]
            advance([self._sequences[row] for row in going], logits)
        places = torch.full((len(scores),), self._pad, device=scores.device)
        for row in going:
            if not self._sequences[row].failed:
                places[row] = self._sequences[row].last
        return torch.full_like(scores, -float("inf")).scatter_(1, places[:, None], 0.0)


class _Done(StoppingCriteria):
    def __init__(self, sequences: list[Sequence]) -> None:
        self._sequences = sequences

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002 - ditto
        return torch.tensor([sequence.done for sequence in self._sequences], device=input_ids.device)


def _config(**settings: Any) -> GenerationConfig:
    return GenerationConfig(**settings)  # type: ignore[no-untyped-call]
