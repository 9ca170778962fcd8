"""TAPAS: a query with its table → tokens → the cells that answer. What table-question-answering asks of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from slipway_runtime.tasks.loading import TextModel

# Columns of its token types.
_COLUMN, _ROW, _BEFORE, _RANK, _RANK_FROM_END = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class TableTokens:
    """One query with its table, tokenized."""

    ids: Any
    """[tokens]"""
    types: Any
    """[tokens, 7]: segment, column and row (from 1), in the answer before, rank, rank from the end, relation."""


@dataclass(frozen=True)
class Picked:
    """What the model says to one query."""

    coordinates: list[tuple[int, int]]
    """(row, column)"""
    aggregation: int | None


class Tapas:
    """The model with its tokenizer, which transformers has in Python only and which brings its own decoding."""

    def __init__(self, text_model: TextModel) -> None:
        config, self._tokenizer = text_model.config, text_model.tokenizer.tokenizer
        self._model = text_model
        sizes = config.type_vocab_sizes  # place 0 is the query's; ranks count rows
        self.most_columns = min(self._tokenizer.max_column_id, sizes[_COLUMN]) - 1
        self.most_rows = min(self._tokenizer.max_row_id, *(sizes[i] for i in (_ROW, _RANK, _RANK_FROM_END))) - 1
        self.most_tokens = text_model.tokenizer.limit
        self._aggregates = bool(config.num_aggregation_labels)

    def tokens(self, table: Any, queries: Sequence[str], *, drop_rows: bool) -> list[TableTokens]:
        """One per query, perhaps longer than the model takes."""
        encoded = self._tokenizer(
            table=table.iloc[: self.most_rows],  # ranks count rows that are dropped
            queries=list(queries),
            padding=False,
            truncation="drop_rows_to_fit" if drop_rows else "do_not_truncate",
            verbose=False,
        )
        pairs = zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
        return [TableTokens(np.array(ids), np.array(types)) for ids, types in pairs]

    def pick_in_turn(self, tokens: Sequence[TableTokens]) -> list[Picked]:
        """Each query is told the cells of the answer before."""
        answers: list[Picked] = []
        for one in tokens:
            types = one.types.copy()
            if answers:
                before = {(row + 1, column + 1) for row, column in answers[-1].coordinates}
                types[:, _BEFORE] = [tuple(place) in before for place in types[:, [_ROW, _COLUMN]].tolist()]
            answers += self.pick([TableTokens(one.ids, types)])
        return answers

    def pick(self, tokens: Sequence[TableTokens]) -> list[Picked]:
        """One batch, in the inference thread."""
        longest = max(len(one.ids) for one in tokens)
        batch = {
            "input_ids": torch.full((len(tokens), longest), self._tokenizer.pad_token_id),
            "attention_mask": torch.zeros(len(tokens), longest, dtype=torch.long),
            "token_type_ids": torch.zeros(len(tokens), longest, 7, dtype=torch.long),
        }
        for row, one in enumerate(tokens):
            n = len(one.ids)
            batch["input_ids"][row, :n] = torch.from_numpy(one.ids)
            batch["attention_mask"][row, :n] = 1
            batch["token_type_ids"][row, :n] = torch.from_numpy(one.types)
        with torch.inference_mode():
            output = self._model.model(**{name: tensor.to(self._model.device) for name, tensor in batch.items()})
            logits = output.logits.float().cpu()
            aggregation = output.logits_aggregation.float().cpu() if self._aggregates else None
        picked = []
        for row in range(len(tokens)):  # one by one: of a batch the library leaves out tables that it takes for empty
            here = slice(row, row + 1)
            data = {name: tensor[here] for name, tensor in batch.items()}
            kinds = aggregation[here] if aggregation is not None else None
            found, *chosen = self._tokenizer.convert_logits_to_predictions(data, logits[here], kinds)
            picked.append(Picked(found[0] if found else [], chosen[0][0] if chosen else None))
        return picked
