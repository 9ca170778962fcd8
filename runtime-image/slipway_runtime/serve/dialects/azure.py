"""Azure ML's scoring format on /score, as its model catalog's cards have it.

    {"input_data": {"columns": [...], "index": [...], "data": [[...], ...]}, "params": {...}}   a table
    {"input_data": ["a text", ...]}, also under inputs or data                                  rows of one column
    {"input_data": {"question": "…", "context": "…"}}                                           one row, or a list each
    {"input_data": {"input_string": ["a text", ...], "parameters": {...}}}                      texts
    {"input_data": {"input_string": [{"role": …, "content": …}], "parameters": {...}}}          a chat → {"output": "…"}

Each row is one input of the task; columns that are no input (rows.py) are parameters of their row. With the columns
image and text the task is zero-shot-image-classification: text holds the labels, "egg, milk, juice", and a row without
it takes those of the row before; image with prompt is for image-text-to-text. Answers are a list with one entry per
row, in the shapes of Azure's own wrappers:

    fill-mask                                    "capital", the likeliest word
    token-classification                         ["O", "I-PER", …], one tag per word (split at spaces)
    question-answering                           "John"
    summarization, translation, text generation  "the text"
    text-classification                          {"label", "score"}, the best; with params.top_k a list
    image-classification (zero-shot too)         {"probs": [...], "labels": [...]}, the best five or params.top_k
    text-to-image                                {"prompt", "generated_image": base64, "nsfw_content_detected": null}:
                                                 nothing here looks for that
    any other                                    as Hugging Face's format has it

Errors: {"error": {"code", "message"}, "message"}. Microsoft's API guidelines have the first, Azure's own inference
server (azureml-inference-server-http) sends the second; clients read either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput, RequestError
from slipway_runtime.serve.dialects import Dialect, Exchange, Reply
from slipway_runtime.serve.dialects.bodies import json_object
from slipway_runtime.serve.dialects.generation import Wanted
from slipway_runtime.serve.dialects.rows import checked_count, only, plain, row_request, to_json
from slipway_runtime.serve.inference.service import Answer, TaskRequest
from slipway_runtime.tasks.generated import Generated

_SHAPE = '{"input_data": {"columns": […], "index": […], "data": [[…], …]}, "params": {…}}'
_KEYS = ("input_data", "inputs", "data")
_CODES = {
    "validation": "BadArgument",
    "unauthorized": "Unauthorized",
    "not_found": "NotFound",
    "overloaded": "TooManyRequests",
    "loading": "ServiceUnavailable",
    "unavailable": "ServiceUnavailable",
    "timeout": "Timeout",
}
_ZERO_SHOT_IMAGES = "zero-shot-image-classification"
Row = dict[str, Any]


class Azure(Dialect):
    """The dialect."""

    name = "azure"

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:  # noqa: ARG002
        data = json_object(body, headers, _SHAPE)
        key = next((key for key in _KEYS if key in data), None)
        if key is None:
            raise InvalidInput("input_data", f"is missing; send {_SHAPE}")
        unknown = sorted(data.keys() - {key, "params", "parameters"})
        if unknown:
            raise InvalidInput(unknown[0][:80], f"unknown field; send {_SHAPE}")
        parameters = {**_parameters(data, "params"), **_parameters(data, "parameters")}
        value = data[key]
        if isinstance(value, dict) and "input_string" in value:
            parameters |= _parameters(value, "parameters", f"{key}.")
            value = {name: column for name, column in value.items() if name != "parameters"}
            if _is_chat(value["input_string"]):
                return _chat(value, parameters, key)
        rows = _rows(value, key)
        checked_count(rows, key, self._max_rows)
        rows = _inherited(rows)
        requests = [_request(row, parameters, f"{key}[{i}]") for i, row in enumerate(rows)]
        return Exchange(requests, lambda answers: _reply(requests, answers))

    def render_error(self, error: RequestError) -> bytes:
        code = _CODES.get(error.kind, "InternalServerError")
        return orjson.dumps({"error": {"code": code, "message": error.message}, "message": error.message})


def _parameters(data: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}{name}", "must be an object")
    return value


def _rows(value: Any, field: str) -> list[Row]:
    """The rows of any of the forms, as column → cell."""
    if isinstance(value, dict) and "columns" in value:
        return _table(value, field)
    if isinstance(value, dict):
        lists = {name: column for name, column in value.items() if isinstance(column, list)}
        if not lists:
            return [value]
        sizes = {len(column) for column in lists.values()}
        if len(sizes) > 1 or len(lists) < len(value):
            raise InvalidInput(field, "its columns differ in length; give each a list, and each as many entries")
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if isinstance(value, list):
        return [row if isinstance(row, dict) else {"inputs": row} for row in value]
    return [{"inputs": value}]


def _table(value: Mapping[str, Any], field: str) -> list[Row]:
    columns, data, index = value["columns"], value.get("data"), value.get("index")
    if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
        raise InvalidInput(f"{field}.columns", "must be a list of names with at least one")
    if not isinstance(data, list):
        raise InvalidInput(f"{field}.data", "must be a list of rows")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        size = f"{len(index)} entries" if isinstance(index, list) else "no list"
        raise InvalidInput(f"{field}.index", f"is {size}, data has {len(data)} rows; make them agree, or leave it out")
    rows = []
    for i, entry in enumerate(data):
        row = entry if isinstance(entry, list) else [entry]
        if len(row) > len(columns):
            raise InvalidInput(f"{field}.data[{i}]", f"has {len(row)} cells, there are {len(columns)} columns")
        rows.append(dict(zip(columns, row, strict=False)))  # a short row leaves out its last cells
    return rows


def _inherited(rows: list[Row]) -> list[Row]:
    """Rows of images and their labels: without labels, those of the row before."""
    labels: Any = None
    complete = []
    for row in rows:
        if "image" in row and any("text" in other for other in rows) and "question" not in row:
            text = row.get("text")
            labels = text if isinstance(text, str) and text.strip() else labels
            row = {**row, "text": labels}  # noqa: PLW2901 - the row as it is meant
        complete.append(row)
    return complete


def _request(row: Row, parameters: Mapping[str, Any], place: str) -> TaskRequest:
    if "image" in row and "text" in row:
        text = row["text"]
        if not isinstance(text, str):
            raise InvalidInput(place, "has no text, and no row before it has; write the labels: egg, milk, juice")
        names = [name.strip() for name in text.split(",") if name.strip()]
        rest = {name: cell for name, cell in row.items() if name not in ("image", "text")}
        request = row_request({"image": row["image"]}, {**parameters, **rest, "candidate_labels": names}, place=place)
        request.tasks = (_ZERO_SHOT_IMAGES,)
        return request
    request = row_request(row, parameters, place=place)
    request.inputs = _single(request.inputs, place)
    return request


def _single(value: Any, place: str) -> Any:
    """A row is one input, perhaps in a list of its own; a chat is a list. Raises InvalidInput."""
    while isinstance(value, list) and len(value) == 1 and not _is_chat(value):
        value = value[0]
    if isinstance(value, list) and not _is_chat(value):
        raise InvalidInput(place, f"is a list of {len(value)}; a row is one input of the task: send a row for each")
    return value


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)


def _chat(value: Mapping[str, Any], parameters: dict[str, Any], field: str) -> Exchange:
    unknown = sorted(value.keys() - {"input_string"})
    if unknown:
        raise InvalidInput(f"{field}.{unknown[0][:80]}", "unknown field beside a chat; parameters go under parameters")
    tasks = ("text-generation", "image-text-to-text")
    request = TaskRequest(value["input_string"], parameters, tasks=tasks)
    return Exchange([request], lambda answers: Reply(to_json({"output": _text(request, answers[0])})))


def _reply(requests: Sequence[TaskRequest], answers: Sequence[Answer]) -> Reply:
    pairs = zip(requests, answers, strict=True)
    return Reply(to_json([_SHAPES.get(answer.task, _as_is)(request, answer) for request, answer in pairs]))


def _as_is(_: TaskRequest, answer: Answer) -> Any:
    return plain(answer)


def _text(request: TaskRequest, answer: Answer) -> Any:
    """The text, or a list of them where several were asked for; after the prompt where return_full_text says so."""
    wanted = Wanted.of(request.parameters, full_text=False)
    found = answer.value[0] if isinstance(answer.value[0], list) else answer.value
    return only([wanted.text(one) if isinstance(one, Generated) else next(iter(one.values())) for one in found])


def _word(_: TaskRequest, answer: Answer) -> Any:
    """The likeliest word of each mask."""
    rows = plain(answer)
    return [row[0]["token_str"] for row in rows] if isinstance(rows[0], list) else rows[0]["token_str"]


def _span(_: TaskRequest, answer: Answer) -> Any:
    value = plain(answer)
    best = value[0] if isinstance(value, list) and value else value
    return best["answer"] if best else ""


def _label(request: TaskRequest, answer: Answer) -> Any:
    rows = only(plain(answer))
    if "top_k" in request.parameters:
        return rows if isinstance(rows, list) else [rows]
    return rows[0] if isinstance(rows, list) else rows


def _probabilities(request: TaskRequest, answer: Answer) -> Any:
    """Best first, or in the order of the labels that the request gave."""
    rows = plain(answer)
    order = request.parameters.get("candidate_labels")
    if isinstance(order, list):
        rows = sorted(rows, key=lambda row: order.index(row["label"]))
    return {"probs": [row["score"] for row in rows], "labels": [row["label"] for row in rows]}


def _tags(request: TaskRequest, answer: Answer) -> Any:
    """The tag of the first token of each word."""
    entities = plain(answer)
    tags, end = [], 0
    found: dict[str, Any]
    for word in str(request.inputs).split():
        start = str(request.inputs).index(word, end)
        end = start + len(word)
        found = next((e for e in entities if e["start"] < end and e["end"] > start), {})
        tags.append(found.get("entity") or found.get("entity_group") or "O")
    return tags


def _picture(request: TaskRequest, answer: Answer) -> Any:
    return {"prompt": request.inputs, "generated_image": plain(answer), "nsfw_content_detected": None}


_SHAPES: dict[str, Callable[[TaskRequest, Answer], Any]] = {
    "fill-mask": _word,
    "token-classification": _tags,
    "question-answering": _span,
    "text-classification": _label,
    "image-classification": _probabilities,
    _ZERO_SHOT_IMAGES: _probabilities,
    "text-to-image": _picture,
    **dict.fromkeys(
        (
            "summarization",
            "translation",
            "text-generation",
            "text2text-generation",
            "image-to-text",
            "image-text-to-text",
        ),
        _text,
    ),
}
