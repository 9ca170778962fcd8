"""What the formats share that send tables or tensors: rows → TaskRequests, and answers → JSON.

A row is a mapping of column names to values. Columns that carry a task's input have the names below; any other is a
parameter of its row. A table of one column carries the input whatever its name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.service import Answer, TaskRequest
from slipway_runtime.tasks.adapter import Media
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.transcript import Transcript

# Inputs of one value, by the names that clients and sample notebooks give them.
ALONE = ("inputs", "input", "text", "prompt", "sentence", "sequence", "input_string", "text_input", "image", "audio")
# Inputs that belong together in one object, as the tasks want them.
TOGETHER = ("question", "context", "query", "table", "text_pair", "source_sentence", "sentences", "texts")
# What the text of a generated answer is called, where not generated_text.
_TEXT_NAMES = {"summarization": "summary_text", "translation": "translation_text"}


def row_request(
    row: Mapping[str, Any], parameters: Mapping[str, Any], *, place: str = "", model: str | None = None
) -> TaskRequest:
    """One row as a request. `parameters` hold for every row; the row's own columns win. Raises InvalidInput."""
    present = {name: value for name, value in row.items() if value is not None}
    inputs = present if len(present) == 1 else {n: v for n, v in present.items() if n in ALONE or n in TOGETHER}
    if not inputs:
        raise InvalidInput(place, f"has no input; name a column {', '.join((*ALONE, *TOGETHER))}")
    own = {name: value for name, value in present.items() if name not in inputs}
    words = next((name for name in ("text", "prompt") if name in inputs), None)
    if "image" in inputs and words is not None:  # the one task that takes both calls them so
        inputs = {"images": [inputs["image"]], "text": inputs[words]}
    (first, value), *others = inputs.items()
    alone = not others and first not in TOGETHER
    return TaskRequest(value if alone else dict(inputs), {**parameters, **own}, model=model, place=place)


def plain(answer: Answer) -> Any:
    """The answer to one input in JSON types and numpy arrays, as Hugging Face's format shows it. Media become base64.

    Of generated texts: one object, or a list of them where several were asked for.
    """
    value = answer.value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) and _generated(value[0]):
        value = only(value[0])  # tasks that write give one list per input
    return _plain(value, _TEXT_NAMES.get(answer.task, "generated_text"))


def _generated(values: Sequence[Any]) -> bool:
    return bool(values) and isinstance(values[0], Generated)


def _plain(value: Any, text_name: str) -> Any:
    match value:
        case Generated():
            return {text_name: value.text}
        case Transcript():
            return value.plain()
        case Media():
            return base64.b64encode(value.content).decode()
        case list():
            return [_plain(entry, text_name) for entry in value]
        case _:
            return value


def only(value: Any) -> Any:
    """The entry of a list of one that some tasks wrap a single input's answer in."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def to_json(value: Any) -> bytes:
    """JSON, numpy arrays included."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def checked_count(rows: Sequence[Any], field: str, most: int) -> None:
    """Neither none nor more rows than one request may have."""
    if not rows:
        raise InvalidInput(field, "is empty; give at least one row")
    if len(rows) > most:
        raise InvalidInput(field, f"has {len(rows)} rows, at most {most} are allowed; send several requests")
