"""The forward that feature-extraction and sentence-similarity share for sentence-transformers models.

Texts → vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import AutoModel

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item, Limits
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.text import sentence
from slipway_runtime.tasks.text.pooling import load_dense, pool
from slipway_runtime.tasks.text.sentence import SentenceConfig
from slipway_runtime.tasks.texts import Encoded


@dataclass(frozen=True)
class SentenceItem:
    """A tokenized text and how many of its first tokens do not count in the pooling."""

    encoded: Encoded
    unpooled: int


class SentenceEncoder:
    """Tokenize, forward, pool, dense. Normalization is the caller's, since requests may choose it."""

    def __init__(self, text_model: TextModel, config: SentenceConfig, dense: torch.nn.Sequential) -> None:
        self.text_model = text_model
        self.config = config
        self._dense = dense
        self.limit = min(text_model.tokenizer.limit, config.max_tokens or text_model.tokenizer.limit)

    def item(
        self, text: str, *, field: str, prompt_name: str | None = None, truncate: bool = True, side: str = "right"
    ) -> Item:
        """Tokenize one text. Cut to the model's length unless `truncate` is False, as that library's `encode` does."""
        prompt = self._prompt(prompt_name)
        whole = prompt + text
        tokenizer = self.text_model.tokenizer
        encoded = tokenizer.encode(
            whole.lower() if self.config.lower_case else whole,
            field=field,
            truncate=truncate,
            side=side,
            limit=self.limit,
        )
        unpooled = 0
        if prompt and not self.config.include_prompt:
            unpooled = len(tokenizer.encode(prompt, field=field, truncate=True, limit=self.limit).ids) - 1
        return Item(forward=self.forward, length=len(encoded.ids), data=SentenceItem(encoded, unpooled))

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """One vector [width] per item, float32, not normalized."""
        with torch.inference_mode():
            output, real = self.text_model.run([item.data.encoded for item in items])
            hidden, mask = output[0].float(), real.long()
            for row, item in enumerate(items):
                if item.data.unpooled:
                    mask[row, : item.data.unpooled] = 0
            vectors = self._dense(pool(hidden, mask, self.config.pooling))
            return list(vectors.cpu().numpy())

    def _prompt(self, name: str | None) -> str:
        name = name if name is not None else self.config.default_prompt
        if name is None:
            return ""
        if name not in self.config.prompts:
            known = ", ".join(sorted(self.config.prompts)) or "none"
            raise InvalidInput("parameters.prompt_name", f"{name[:80]!r} is not a prompt of this model; it has {known}")
        return self.config.prompts[name]


def normalized(vectors: Any) -> Any:
    """Length 1 along the last axis; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def load_encoder(artifact: Artifact, limits: Limits) -> SentenceEncoder:
    """Raises ModelFault."""
    config = sentence.read(artifact.folder, artifact.id)
    inner = replace(artifact, folder=artifact.folder / config.transformer)
    # BERT's pooler is not used for these vectors, and many repositories leave it out.
    text_model = load_text_model(inner, AutoModel, limits, optional=("pooler.",))
    return SentenceEncoder(text_model, config, load_dense(artifact.folder, config, artifact.id, text_model.device))
