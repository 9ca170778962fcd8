"""What every kind of batch needs of a model that writes: how an answer begins, and how many have room in memory."""

from __future__ import annotations

from typing import Any

import torch

from slipway_runtime import memory
from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.generated import Token
from slipway_runtime.tasks.generation.detokenizer import Detokenizer
from slipway_runtime.tasks.generation.prompt import Prompt
from slipway_runtime.tasks.generation.sequence import Sequence, Vocabulary
from slipway_runtime.tasks.loading import Network

# Of the memory that is left once the model is loaded. The rest is for activations, logits, requests and their texts.
_SHARE = 0.5


class Answers:
    """Over one network. `decoder_start`: what an encoder-decoder's answers follow; a decoder's follow their prompts."""

    def __init__(self, network: Network, tokenizer: Any) -> None:
        self.model = network.model
        self.device = network.device
        self.ends = _ends(network, tokenizer)
        pad = tokenizer.pad_token_id
        self.pad: int = pad if pad is not None else next(iter(self.ends), 0)
        self.vocabulary = Vocabulary.of(tokenizer, self.ends)
        self.decoder_start: list[int] | None = None
        if network.config.is_encoder_decoder:
            own = network.model.generation_config
            start = own.decoder_start_token_id
            self.decoder_start = [start if start is not None else own.bos_token_id]
        self.bytes_per_token = 0
        """Of a row's cache. 0: it does not grow with the answer, or is not known."""
        self.cache_bytes = _left(network.device)
        """All rows' caches together."""

    @property
    def most_tokens(self) -> int | None:
        """Of one prompt and its answer, alone in memory. None: no limit."""
        return self.cache_bytes // self.bytes_per_token if self.bytes_per_token and self.cache_bytes else None

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether so many rows, the longest of so many tokens with all that it may still write, have room."""
        return not self.cache_bytes or rows * tokens * self.bytes_per_token <= self.cache_bytes

    def left_beside(self, rows: int, tokens: int) -> int | None:
        """Tokens that have room beside so many rows of so many each, which may be fewer than none. None: no limit."""
        most = self.most_tokens
        return None if most is None else most - rows * tokens

    def begin(self, item: Item) -> Sequence:
        """In the inference thread."""
        prompt: Prompt = item.data
        sequence = Sequence(prompt, self.vocabulary, item.listener, before=self.decoder_start)
        if prompt.prefill:
            sequence.prefill = self._prompt_tokens(prompt)
        return sequence

    def _prompt_tokens(self, prompt: Prompt) -> tuple[Token, ...]:
        if self.decoder_start is not None:
            start = self.decoder_start[0]
            word = self.vocabulary.tokenizer.decode([start])
            return (Token(start, word, float("nan"), special=start in self.vocabulary.special, piece=word),)
        ids = torch.tensor([prompt.ids], device=self.device)
        extra = {name: value.to(self.device) for name, value in prompt.extra.items()}
        logprobs = self.model(input_ids=ids, **extra).logits[0].float().log_softmax(-1)
        found = [float("nan"), *logprobs[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist()]
        words, tokens = Detokenizer(self.vocabulary.tokenizer, []), []
        for token, logprob in zip(prompt.ids, found, strict=True):
            word = words.alone(token)
            words.add(token)
            tokens.append(Token(token, word, logprob, special=token in self.vocabulary.special, piece=word))
        return tuple(tokens)


def _left(device: torch.device) -> int:
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.left()
    return int(_SHARE * free) if free else 0


def _ends(network: Network, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer, by the repository's generation settings, the model's and the tokenizer's."""
    found: dict[int, None] = {}
    for source in (network.model.generation_config, network.config, tokenizer):
        value = getattr(source, "eos_token_id", None)
        found.update(dict.fromkeys(value if isinstance(value, list | tuple) else [] if value is None else [value]))
    return tuple(found)
