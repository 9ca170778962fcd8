"""Steps of the model for several answers at once: one static batch, padded.

transformers' own `generate` drives the model, so that caches, positions and masks are right for every architecture; it
only ever sees the tokens that each Sequence has chosen. A sequence that has ended stays in the batch as padding until
the last one has.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence as Several
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from slipway_runtime.errors import InferenceFailed
from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.generated import Generated, Token
from slipway_runtime.tasks.generation.detokenizer import Detokenizer
from slipway_runtime.tasks.generation.grammar import Grammars
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sequence import Sequence, Vocabulary
from slipway_runtime.tasks.loading import Network

_MAX_ROWS = 32  # memory: each row has a cache of its own, up to the longest's length

logger = logging.getLogger("slipway_runtime")


class Engine:
    """Prompts → answers, over one network that has `generate`."""

    def __init__(self, network: Network, tokenizer: Any) -> None:
        self._model = network.model
        self._device = network.device
        self.ends = _ends(network, tokenizer)
        pad = tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else next(iter(self.ends), 0)
        self._vocabulary = Vocabulary.of(tokenizer, self.ends)
        self._positions = _table_of_positions(network)
        self._rows = 1 if _looks_at_the_longest(network.config.get_text_config()) else _MAX_ROWS
        self.grammars = Grammars(tokenizer, self.ends)
        own = self._model.generation_config
        # Nothing of the repository's own settings may move the logits; what begins a decoder stays.
        self._model.generation_config = _config(
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
            pad_token_id=self._pad,
        )
        self._decoder_start: list[int] | None = None
        """What an encoder-decoder's answers follow; a decoder's follow their prompts."""
        if network.config.is_encoder_decoder:
            start = own.decoder_start_token_id
            self._decoder_start = [start if start is not None else own.bos_token_id]

    def item(self, prompt: Prompt) -> Item:
        """What goes into the queue."""
        return Item(forward=self.forward, length=len(prompt.ids), data=prompt)

    def forward(self, items: Several[Item]) -> list[Generated | Exception]:
        """One answer per item; an exception for one that failed alone."""
        outputs: dict[int, Generated | Exception] = {}
        for group in self._groups([item.data for item in items]):
            outputs.update(zip(group, self._answers([items[i] for i in group]), strict=True))
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
        if len(every) > self._rows or any(one.extra for one in every):
            return False
        if self._positions is None or self._decoder_start is not None:
            return True
        return max(len(one.ids) for one in every) + max(one.max_new_tokens for one in every) <= self._positions

    def _answers(self, items: Several[Item]) -> list[Generated | Exception]:
        before = self._decoder_start
        sequences = [Sequence(item.data, self._vocabulary, item.listener, before=before) for item in items]
        try:
            with torch.inference_mode():
                for item, sequence in zip(items, sequences, strict=True):
                    if item.data.prefill:
                        sequence.prefill = self._prefill(item.data)
                self._generate([item.data for item in items], sequences)
        except Exception as error:
            if not any(sequence.emitted for sequence in sequences):
                raise  # run again one by one, see serve/batcher.py
            logger.error("a generation failed in its middle", exc_info=error)
            return [InferenceFailed(f"the model failed while it wrote ({type(error).__name__})") for _ in items]
        return [sequence.result() for sequence in sequences]

    def _generate(self, prompts: Several[Prompt], sequences: list[Sequence]) -> None:
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self._pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            # What a decoder reads ends where its answer begins; an encoder counts positions from the left.
            start = longest - len(prompt.ids) if self._decoder_start is None else 0
            place = slice(start, start + len(prompt.ids))
            ids[row, place] = torch.tensor(prompt.ids)
            mask[row, place] = 1
        extra = {name: value.to(self._device) for name, value in prompts[0].extra.items()}
        self._model.generate(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=_config(
                do_sample=False,
                max_new_tokens=max(prompt.max_new_tokens for prompt in prompts),
                pad_token_id=self._pad,
            ),
            logits_processor=LogitsProcessorList([_Steps(sequences, self._pad)]),
            stopping_criteria=StoppingCriteriaList([_Done(sequences)]),
            **extra,
        )

    def _prefill(self, prompt: Prompt) -> tuple[Token, ...]:
        if self._decoder_start is not None:
            start = self._decoder_start[0]
            word = self._vocabulary.tokenizer.decode([start])
            return (Token(start, word, float("nan"), special=start in self._vocabulary.special, piece=word),)
        ids = torch.tensor([prompt.ids], device=self._device)
        extra = {name: value.to(self._device) for name, value in prompt.extra.items()}
        logprobs = self._model(input_ids=ids, **extra).logits[0].float().log_softmax(-1)
        found = [float("nan"), *logprobs[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist()]
        words, tokens = Detokenizer(self._vocabulary.tokenizer, []), []
        for token, logprob in zip(prompt.ids, found, strict=True):
            word = words.alone(token)
            words.add(token)
            tokens.append(Token(token, word, logprob, special=token in self._vocabulary.special, piece=word))
        return tuple(tokens)


class _Steps(LogitsProcessor):
    """Where `generate` asks for scores it gets the token that each sequence chose, as the only one possible."""

    def __init__(self, sequences: list[Sequence], pad: int) -> None:
        self._sequences = sequences
        self._pad = pad

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - its own ids
        logits = scores.float()
        logprobs = logits.log_softmax(-1)
        chosen = [
            None if sequence.done else sequence.step(logits[row], logprobs[row])
            for row, sequence in enumerate(self._sequences)
        ]
        only = torch.full_like(scores, -float("inf"))
        places = torch.tensor([self._pad if token is None else token for token in chosen], device=scores.device)
        return only.scatter_(1, places[:, None], 0.0)


class _Done(StoppingCriteria):
    def __init__(self, sequences: list[Sequence]) -> None:
        self._sequences = sequences

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002 - ditto
        return torch.tensor([sequence.done for sequence in self._sequences], device=input_ids.device)


def _config(**settings: Any) -> GenerationConfig:
    return GenerationConfig(**settings)  # type: ignore[no-untyped-call]


def _table_of_positions(network: Network) -> int | None:
    """How many positions the model has, where it looks them up; rotary ones are computed and go on."""
    if any(name.endswith("inv_freq") for name, _ in network.model.named_buffers()):
        return None
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def _looks_at_the_longest(config: Any) -> bool:
    """Whether its rotary positions are scaled by the longest row of a batch: no answer may depend on its neighbours."""
    rope = getattr(config, "rope_parameters", None)
    among = [rope, *rope.values()] if isinstance(rope, dict) else []  # some have them by kind of layer
    return any(isinstance(one, dict) and one.get("rope_type") in ("dynamic", "longrope") for one in among)


def _ends(network: Network, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer, by the repository's generation settings, the model's and the tokenizer's."""
    found: dict[int, None] = {}
    for source in (network.model.generation_config, network.config, tokenizer):
        value = getattr(source, "eos_token_id", None)
        found.update(dict.fromkeys(value if isinstance(value, list | tuple) else [] if value is None else [value]))
    return tuple(found)
