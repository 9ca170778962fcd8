"""table-question-answering (TAPAS): {"query": …, "table": …} → {answer, coordinates, cells, aggregator}.

aggregator is always a string: NONE where cells are listed as they are, else the answer begins with it ("SUM > 1, 2").
A list of queries, or of inputs, gives one answer each. `sequential` asks the queries of one table in turn, each told
the cells of the answer before, as models for conversations (SQA) want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModelForTableQuestionAnswering

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.tables import table_of
from slipway_runtime.tasks.text_adapter import TextAdapter
from slipway_runtime.tasks.texts import checked_list, kind_of, texts_of, too_long

_FIELDS = {"query", "table"}
# Columns of TAPAS's token types.
_SEGMENT, _COLUMN, _ROW, _BEFORE = 0, 1, 2, 3


class TableParameters(Parameters, frozen=True, kw_only=True):
    """Tables longer than the model are refused unless `truncation` lets rows be dropped from their end."""

    sequential: bool = False
    truncation: bool | Literal["drop_rows_to_fit", "do_not_truncate"] = False
    padding: bool | Literal["do_not_pad", "longest", "max_length"] = False
    """Without effect: batches decide."""
    model: str | None = None
    """Without effect: InferenceClient repeats its model here, which may be a URL."""


@dataclass(frozen=True)
class Asked:
    """Queries about one table."""

    table: Any
    """As `table_of` gives it."""
    queries: list[str]
    single: bool
    field: str
    query_field: str


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


class TableQuestionAnswering(TextAdapter):
    """The adapter."""

    task = "table-question-answering"
    parameters = TableParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        config, self._tokenizer = text_model.config, text_model.tokenizer.tokenizer
        # Place 0 is the query's. Ranks count rows as well.
        self._most_columns = min(self._tokenizer.max_column_id, config.type_vocab_sizes[_COLUMN]) - 1
        self._most_rows = min(self._tokenizer.max_row_id, *(config.type_vocab_sizes[i] for i in (_ROW, 4, 5))) - 1
        self._labels = config.aggregation_labels if config.num_aggregation_labels else None

    def parse(self, inputs: object, parameters: TableParameters) -> Call:
        if not isinstance(inputs, list):
            return Call(inputs=[self._asked(inputs, "inputs")], parameters=parameters, single=True)
        entries = checked_list(inputs, "inputs", self._limits)
        asked = [self._asked(entry, f"inputs[{i}]") for i, entry in enumerate(entries)]
        queries = sum(len(one.queries) for one in asked)
        if queries > self._limits.max_inputs:
            raise InvalidInput(
                "inputs", f"has {queries} queries, at most {self._limits.max_inputs} are allowed; send several requests"
            )
        return Call(inputs=asked, parameters=parameters, single=False)

    def preprocess(self, call: Call) -> list[Item]:
        p: TableParameters = call.parameters
        drop = p.truncation in (True, "drop_rows_to_fit")
        items = []
        for asked in call.inputs:
            self._check_size(asked, drop=drop)
            tokens = self._tokens(asked, drop=drop)
            if p.sequential:
                items.append(Item(self.forward_in_turn, sum(len(one.ids) for one in tokens), tokens))
            else:
                items += [Item(self.forward, len(one.ids), one) for one in tokens]
        return items

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Per item: what is picked."""
        return [[picked] for picked in self._pick([item.data for item in items])]

    def forward_in_turn(self, items: Sequence[Item]) -> list[Any]:
        """Per item: what is picked for each of its queries, each of which sees the cells of the one before."""
        return [self._in_turn(item.data) for item in items]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:
        picked = iter([one for output in outputs for one in output])
        answers: list[Any] = []
        for asked in call.inputs:
            of_table = [self._answer(asked.table, next(picked)) for _ in asked.queries]
            answers.append(of_table[0] if asked.single else of_table)
        return answers[0] if call.single else answers

    def warmup(self) -> list[Item]:
        asked = self._asked({"query": "warm up", "table": {"a": ["1"]}}, "inputs")
        return self.preprocess(Call(inputs=[asked], parameters=TableParameters(), single=True))

    def _asked(self, value: object, field: str) -> Asked:
        if not isinstance(value, dict):
            raise InvalidInput(field, f"must be an object with query and table, got {kind_of(value)}")
        if set(value) != _FIELDS:
            got = ", ".join(sorted(map(str, value)))[:200] or "none"
            raise InvalidInput(field, f"must have exactly query and table, got {got}")
        queries, single = texts_of(value["query"], f"{field}.query", self._limits)
        return Asked(table_of(value["table"], f"{field}.table"), queries, single, f"{field}.table", f"{field}.query")

    def _check_size(self, asked: Asked, *, drop: bool) -> None:
        rows, columns = asked.table.shape
        if columns > self._most_columns:
            raise InvalidInput(asked.field, f"has {columns} columns, the model takes {self._most_columns}")
        if rows > self._most_rows and not drop:
            most = f"the model takes {self._most_rows}; shorten it, or set truncation to true"
            raise InvalidInput(asked.field, f"has {rows} rows, {most}")

    def _tokens(self, asked: Asked, *, drop: bool) -> list[TableTokens]:
        most = self._model.tokenizer.limit
        encoded = self._tokenizer(
            table=asked.table.iloc[: self._most_rows],  # ranks count rows that are dropped
            queries=list(asked.queries),
            padding=False,
            truncation="drop_rows_to_fit" if drop else "do_not_truncate",
            verbose=False,
        )
        for i, ids in enumerate(encoded["input_ids"]):
            if len(ids) > most and not drop:
                raise too_long(asked.field, len(ids), most, "truncation")
            if len(ids) > most:
                raise InvalidInput(
                    asked.query_field if asked.single else f"{asked.query_field}[{i}]",
                    f"has {len(ids)} tokens with the names of the columns, the model takes {most}; shorten it",
                )
        pairs = zip(encoded["input_ids"], encoded["token_type_ids"], strict=True)
        return [TableTokens(np.array(ids), np.array(types)) for ids, types in pairs]

    def _in_turn(self, tokens: list[TableTokens]) -> list[Picked]:
        answers: list[Picked] = []
        for one in tokens:
            types = one.types.copy()
            if answers:
                before = {(row + 1, column + 1) for row, column in answers[-1].coordinates}
                types[:, _BEFORE] = [tuple(place) in before for place in types[:, [_ROW, _COLUMN]].tolist()]
            answers += self._pick([TableTokens(one.ids, types)])
        return answers

    def _pick(self, tokens: Sequence[TableTokens]) -> list[Picked]:
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
            aggregation = output.logits_aggregation.float().cpu() if self._labels else None
        picked = []
        for row in range(len(tokens)):  # one by one: of a batch the library leaves out tables that it takes for empty
            here = slice(row, row + 1)
            data = {name: tensor[here] for name, tensor in batch.items()}
            kinds = aggregation[here] if aggregation is not None else None
            found, *chosen = self._tokenizer.convert_logits_to_predictions(data, logits[here], kinds)
            picked.append(Picked(found[0] if found else [], chosen[0][0] if chosen else None))
        return picked

    def _answer(self, table: Any, picked: Picked) -> dict[str, Any]:
        cells = [str(table.iat[place]) for place in picked.coordinates]
        aggregator, prefix = "NONE", ""
        if self._labels and picked.aggregation is not None:
            aggregator = str(self._labels[picked.aggregation])
            if picked.aggregation != self._model.config.no_aggregation_label_index:
                prefix = f"{aggregator} > "
        return {
            "answer": prefix + ", ".join(cells),
            "coordinates": [list(place) for place in picked.coordinates],
            "cells": cells,
            "aggregator": aggregator,
        }


def load(artifact: Artifact, limits: Limits) -> Loaded:
    """Raises ModelFault."""
    model = load_text_model(artifact, AutoModelForTableQuestionAnswering, limits)
    return model.loaded(TableQuestionAnswering(model, limits))
