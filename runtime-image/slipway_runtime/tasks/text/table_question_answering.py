"""table-question-answering (TAPAS): {"query": …, "table": …} → {answer, coordinates, cells, aggregator}.

aggregator is always a string: NONE where cells are listed as they are, else the answer begins with it ("SUM > 1, 2").
A list of queries, or of inputs, gives one answer each. `sequential` asks the queries of one table in turn, each told
the cells of the answer before, as models for conversations (SQA) want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from transformers import AutoModelForTableQuestionAnswering

from slipway_runtime.artifacts import Artifact
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Call, Item, Limits, Loaded, Parameters
from slipway_runtime.tasks.loading import TextModel, load_text_model
from slipway_runtime.tasks.text.tables import table_of
from slipway_runtime.tasks.text.tapas import Picked, TableTokens, Tapas
from slipway_runtime.tasks.text.text_adapter import TextAdapter
from slipway_runtime.tasks.texts import checked_list, kind_of, texts_of, too_long

_FIELDS = {"query", "table"}
# Its tokenizer, in Python, takes about 1 ms for a cell and seconds for a long text; so for each token that the model
# takes there may be so many characters in a table, and so many cells, of which each query counts all.
_CHARACTERS = 20
_CELLS = 8


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


class TableQuestionAnswering(TextAdapter):
    """The adapter."""

    task = "table-question-answering"
    parameters = TableParameters

    def __init__(self, text_model: TextModel, limits: Limits) -> None:
        super().__init__(text_model, limits)
        self._tapas = Tapas(text_model)
        config = text_model.config
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
            tokens = self._tapas.tokens(asked.table, asked.queries, drop_rows=drop)
            self._check_tokens(asked, tokens, drop=drop)
            if p.sequential:
                items.append(Item(self.forward_in_turn, sum(len(one.ids) for one in tokens), tokens))
            else:
                items += [Item(self.forward, len(one.ids), one) for one in tokens]
        return items

    def forward(self, items: Sequence[Item]) -> list[Any]:
        """Per item: what is picked."""
        return [[picked] for picked in self._tapas.pick([item.data for item in items])]

    def forward_in_turn(self, items: Sequence[Item]) -> list[Any]:
        """Per item: what is picked for each of its queries, each of which sees the cells of the one before."""
        return [self._tapas.pick_in_turn(item.data) for item in items]

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
        """Before a tokenizer written in Python works on it: each cell is a token at least."""
        (rows, columns), tapas = asked.table.shape, self._tapas
        mend = "shorten it, or set truncation to true"
        if columns > tapas.most_columns:
            raise InvalidInput(asked.field, f"has {columns} columns, the model takes {tapas.most_columns}")
        if rows > tapas.most_rows and not drop:
            raise InvalidInput(asked.field, f"has {rows} rows, the model takes {tapas.most_rows}; {mend}")
        if rows * columns > tapas.most_tokens and not drop:
            raise InvalidInput(
                asked.field, f"has {rows * columns} cells, the model takes {tapas.most_tokens} tokens; {mend}"
            )
        queries, most = len(asked.queries), _CELLS * tapas.most_tokens
        if rows * columns * queries > most:
            each = f" for each of {queries} queries" if queries > 1 else ""
            raise InvalidInput(
                asked.field, f"has {rows * columns} cells{each}, at most {most} are read; send less at once"
            )
        characters = sum(len(cell) for column in asked.table for cell in (column, *asked.table[column]))
        for field, count in ((asked.field, characters), (asked.query_field, max(map(len, asked.queries)))):
            if count > _CHARACTERS * tapas.most_tokens:
                raise InvalidInput(field, f"has {count} characters, far more than the model takes; shorten it")

    def _check_tokens(self, asked: Asked, tokens: Sequence[TableTokens], *, drop: bool) -> None:
        most = self._tapas.most_tokens
        for i, one in enumerate(tokens):
            if len(one.ids) > most and not drop:
                raise too_long(asked.field, len(one.ids), most, "truncation")
            if len(one.ids) > most:
                raise InvalidInput(
                    asked.query_field if asked.single else f"{asked.query_field}[{i}]",
                    f"has {len(one.ids)} tokens with the names of the columns, the model takes {most}; shorten it",
                )

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
