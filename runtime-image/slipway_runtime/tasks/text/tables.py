"""Tables in JSON → pandas, as the TAPAS tokenizer wants them."""

from __future__ import annotations

from typing import Any

import pandas as pd  # type: ignore[import-untyped]

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.texts import kind_of

MAX_CELLS = 16384  # a model that reads tables sees 512 tokens of them


def table_of(value: object, field: str) -> pd.DataFrame:
    """{column: [cell, …]} or [{column: cell, …}, …], every cell a string. Raises InvalidInput."""
    if isinstance(value, dict):
        columns = value
        for name, cells in columns.items():
            if not isinstance(cells, list):
                raise InvalidInput(f"{field}.{name[:80]}", f"must be a list of strings, got {kind_of(cells)}")
    elif isinstance(value, list):
        columns = _turned(value, field)
    else:
        raise InvalidInput(
            field, f"must be an object with a list of strings per column, or a list of rows; got {kind_of(value)}"
        )
    _check(columns, field)
    return pd.DataFrame(columns, dtype=object)


def _turned(rows: list[Any], field: str) -> dict[str, list[Any]]:
    """Rows → columns."""
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInput(f"{field}[{i}]", f"must be an object with a string per column, got {kind_of(row)}")
        if row.keys() != rows[0].keys():
            raise InvalidInput(f"{field}[{i}]", f"has the columns {_names(row)}; the first row has {_names(rows[0])}")
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _check(columns: dict[str, list[Any]], field: str) -> None:
    if not columns or not any(columns.values()):
        raise InvalidInput(field, "is empty; give at least one column and one row")
    count = sum(len(column) for column in columns.values())
    if count > MAX_CELLS:
        raise InvalidInput(field, f"has {count} cells, at most {MAX_CELLS} are allowed; send a part of it")
    first, cells_of_first = next(iter(columns.items()))
    for name, cells in columns.items():
        if len(cells) != len(cells_of_first):
            raise InvalidInput(
                f"{field}.{name[:80]}",
                f"has {len(cells)} rows, the column {first[:80]} has {len(cells_of_first)}; give as many in each",
            )
        for i, cell in enumerate(cells):
            if not isinstance(cell, str):
                raise InvalidInput(
                    f"{field}.{name[:80]}[{i}]", f"must be a string, got {kind_of(cell)}; write numbers in quotes"
                )


def _names(row: dict[str, Any]) -> str:
    return ", ".join(row)[:200] or "none"
