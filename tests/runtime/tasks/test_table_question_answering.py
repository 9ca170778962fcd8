"""table-question-answering against transformers' pipeline and TAPAS's own forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Loaded

from tests.runtime.conftest import Serve
from tests.support.asking import ask, load
from tests.support.tiny import text

TABLE = {"city": ["paris", "london", "big"], "size": ["10", "20", "3"]}
QUERIES = ["what is the sum ?", "which city is big", "is it 10", "rain", "how many love the sun ?"]
HEADS: dict[str, tuple[str, ...]] = {"aggregating": ("NONE", "SUM", "AVERAGE", "COUNT"), "picking": ()}


@pytest.fixture(scope="module", params=HEADS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = text.table_answerer(tmp_path_factory.mktemp("model") / "tapas", aggregation=HEADS[request.param])
    return folder, load(folder)


@pytest.fixture(scope="module")
def aggregating(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(text.table_answerer(tmp_path_factory.mktemp("model") / "tapas"))


@pytest.fixture(scope="module")
def pipeline(model: tuple[Path, Loaded]) -> Any:
    from transformers import pipeline

    return pipeline("table-question-answering", model=str(model[0]))


def inputs(query: Any, table: Any = TABLE) -> dict[str, Any]:
    return {"query": query, "table": table}


def same(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    coordinates = [list(place) for place in expected["coordinates"]]
    assert answer == {"aggregator": "NONE"} | expected | {"coordinates": coordinates}


def test_the_answer_is_an_object_as_the_pipeline_gives_it(model: tuple[Path, Loaded], pipeline: Any) -> None:
    answers = [ask(model[1], inputs(query)) for query in QUERIES]
    for query, answer in zip(QUERIES, answers, strict=True):
        same(answer, pipeline(table=TABLE, query=query))
    assert any(answer["cells"] for answer in answers)


def test_an_aggregator_stands_before_the_cells(aggregating: Loaded) -> None:
    answers = [ask(aggregating, inputs(query)) for query in QUERIES]
    assert {answer["aggregator"] for answer in answers} > {"NONE"}
    for answer in answers:
        named = "" if answer["aggregator"] == "NONE" else f"{answer['aggregator']} > "
        assert answer["answer"] == named + ", ".join(answer["cells"])


def test_cells_are_those_that_a_direct_forward_finds_likelier_than_not(model: tuple[Path, Loaded]) -> None:
    import pandas as pd  # type: ignore[import-untyped]
    import torch
    from transformers import TapasForQuestionAnswering, TapasTokenizer

    tokenizer = TapasTokenizer.from_pretrained(model[0])
    direct: Any = TapasForQuestionAnswering.from_pretrained(model[0])
    direct.eval()
    for query in QUERIES:
        encoded = tokenizer(table=pd.DataFrame(TABLE), queries=query, return_tensors="pt")
        with torch.inference_mode():
            likely = direct(**encoded).logits[0].sigmoid()
        cells: dict[tuple[int, int], list[float]] = {}
        for probability, (segment, column, row, *_) in zip(likely, encoded["token_type_ids"][0].tolist(), strict=True):
            if segment == 1 and row and column:
                cells.setdefault((row - 1, column - 1), []).append(float(probability))
        expected = sorted(place for place, values in cells.items() if sum(values) / len(values) > 0.5)
        assert [tuple(place) for place in ask(model[1], inputs(query))["coordinates"]] == expected


def test_a_list_of_queries_gives_an_answer_each_equal_to_one_by_one_whatever_the_padding(
    model: tuple[Path, Loaded],
) -> None:
    alone = [ask(model[1], inputs(query)) for query in QUERIES]
    assert ask(model[1], inputs(QUERIES)) == alone
    assert ask(model[1], [inputs(query) for query in QUERIES]) == alone
    small = {"a": ["1"]}
    assert ask(model[1], [inputs(QUERIES[:2]), inputs("rain", small)]) == [
        alone[:2],
        ask(model[1], inputs("rain", small)),
    ]


def test_sequential_tells_each_query_the_answer_before(model: tuple[Path, Loaded], pipeline: Any) -> None:
    answers = ask(model[1], inputs(QUERIES), sequential=True)
    for answer, expected in zip(answers, pipeline(table=TABLE, query=QUERIES, sequential=True), strict=True):
        same(answer, expected)


def test_rows_of_objects_are_the_same_table(model: tuple[Path, Loaded]) -> None:
    rows = [{"city": city, "size": size} for city, size in zip(TABLE["city"], TABLE["size"], strict=True)]
    assert ask(model[1], inputs(QUERIES, rows)) == ask(model[1], inputs(QUERIES))


def test_cells_may_be_empty_strings(model: tuple[Path, Loaded]) -> None:
    answers = ask(model[1], inputs(QUERIES, {"": ["", ""], "size": ["", "3"]}))
    assert len(answers) == len(QUERIES)


def test_padding_and_model_are_taken_without_effect(model: tuple[Path, Loaded]) -> None:
    expected = ask(model[1], inputs(QUERIES[0]))
    assert ask(model[1], inputs(QUERIES[0]), padding="max_length", model="http://127.0.0.1:8080") == expected


def test_a_long_table_is_refused_unless_rows_may_be_dropped(model: tuple[Path, Loaded], pipeline: Any) -> None:
    long = {"city": ["paris film sun rain"] * 14, "size": [str(i) for i in range(14)]}
    with pytest.raises(
        InvalidInput, match=r"inputs.table: has \d+ tokens, the model takes 64; shorten it, or set trunc"
    ):
        ask(model[1], inputs(QUERIES[0], long))
    same(ask(model[1], inputs(QUERIES[0], long), truncation=True), pipeline(table=long, query=QUERIES[0]))
    with pytest.raises(
        InvalidInput, match=r"inputs.query: has \d+ tokens with the names of the columns, the model takes"
    ):
        ask(model[1], inputs("rain " * 70), truncation="drop_rows_to_fit")


def test_more_rows_or_columns_than_the_model_counts_are_refused(aggregating: Loaded) -> None:
    rows = {"a": [str(i) for i in range(16)]}
    with pytest.raises(
        InvalidInput, match=r"inputs.table: has 16 rows, the model takes 15; shorten it, or set truncation"
    ):
        ask(aggregating, inputs("rain", rows))
    dropped = ask(aggregating, inputs("rain", rows), truncation=True)
    assert all(row < 15 for row, _ in dropped["coordinates"])
    with pytest.raises(InvalidInput, match=r"inputs.table: has 16 columns, the model takes 15"):
        ask(aggregating, inputs("rain", {str(i): ["a"] for i in range(16)}))


def test_what_cannot_fit_is_refused_before_it_is_tokenized(aggregating: Loaded) -> None:
    cells = {str(i): ["a"] * 15 for i in range(5)}
    with pytest.raises(
        InvalidInput, match=r"inputs.table: has 75 cells, the model takes 64 tokens; shorten it, or set"
    ):
        ask(aggregating, inputs("rain", cells))
    with pytest.raises(
        InvalidInput, match=r"inputs.table: has 2001 characters, far more than the model takes; shorten"
    ):
        ask(aggregating, inputs("rain", {"a": ["x" * 2000]}), truncation=True)
    with pytest.raises(
        InvalidInput, match=r"inputs.query: has 4000 characters, far more than the model takes; shorten"
    ):
        ask(aggregating, inputs("rain" * 1000))


@pytest.mark.parametrize(
    ("given", "parameters", "message"),
    [
        ("rain", {}, "inputs: must be an object with query and table, got a string"),
        ({"query": "rain"}, {}, "inputs: must have exactly query and table, got query"),
        (inputs(""), {}, "inputs.query: is empty"),
        (inputs(5), {}, "inputs.query: must be a string or a list of strings, got a number"),
        (
            inputs("rain", "a,b"),
            {},
            "inputs.table: must be an object with a list of strings per column, or a list",
        ),
        (inputs("rain", {}), {}, "inputs.table: is empty; give at least one column and one row"),
        (inputs("rain", []), {}, "inputs.table: is empty"),
        (inputs("rain", {"a": []}), {}, "inputs.table: is empty"),
        (inputs("rain", {"a": "1"}), {}, "inputs.table.a: must be a list of strings, got a string"),
        (
            inputs("rain", {"a": ["1", 2]}),
            {},
            r"inputs.table.a\[1\]: must be a string, got a number; write num",
        ),
        (inputs("rain", {"a": ["1", "2"], "b": ["1"]}), {}, "inputs.table.b: has 1 rows, the column a has 2"),
        (
            inputs("rain", [{"a": "1"}, ["2"]]),
            {},
            r"inputs.table\[1\]: must be an object with a string per column",
        ),
        (inputs("rain", [{"a": "1"}, {"b": "2"}]), {}, r"inputs.table\[1\]: has the columns b; the first row has a"),
        (inputs("rain"), {"sequential": "yes"}, "parameters.sequential: "),
        (inputs("rain"), {"truncation": "longest_first"}, "parameters.truncation: "),
    ],
)
def test_bad_input_is_named(aggregating: Loaded, given: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(aggregating, given, **parameters)


def test_queries_of_all_tables_together_are_limited(tmp_path: Path) -> None:
    loaded = load(text.table_answerer(tmp_path / "tapas"), limits=Limits(max_inputs=3))
    with pytest.raises(InvalidInput, match="inputs: has 4 queries, at most 3 are allowed"):
        ask(loaded, [inputs(["rain", "sun"]), inputs(["cat", "dog"])])


def test_the_client_reads_the_answer(serve: Serve, model: tuple[Path, Loaded]) -> None:
    with serve(model[0]) as server:
        found = InferenceClient().table_question_answering(TABLE, QUERIES[1], model=server.url, sequential=False)
        assert vars(found) == ask(model[1], inputs(QUERIES[1]))
