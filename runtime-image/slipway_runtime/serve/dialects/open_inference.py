"""Open Inference Protocol v2 over REST: POST /v2/models/{model}[/versions/{version}]/infer.

Which tensor is what, by its name (rows.py): one BYTES tensor of texts (inputs, text, prompt; alone: any name) or of
base64 images and sound; question and context, query and table (each a string of JSON), source_sentence and sentences
belong together. Row i of the input tensors is one input of the task; what is source_sentence or query has one row and
goes with the whole of sentences or texts. Any other tensor is a parameter of the task, one element a scalar, several a
list; parameters may also stand in the request's `parameters`, where lists are taken as well.

Answers, one row per input:

    vectors, scores     FP32 tensors: `embeddings` [rows, width], or [rows, tokens, width] filled up with zeros, and
                        then `tokens` INT64 [rows] with the true lengths; `scores` [rows]
    media               `content` BYTES, base64, with the parameter content_type
    everything else     `output` BYTES, each row as JSON; and where rows are objects, or equally long lists of objects,
                        a tensor for each of their fields: label BYTES [rows, k], score FP32 [rows, k], answer, start …

The protocol's binary tensor extension is not served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from slipway_runtime.errors import InvalidInput, NotFound, RequestError, UnsupportedEncoding
from slipway_runtime.serve.dialects import Dialect, Exchange, Reply
from slipway_runtime.serve.dialects.bodies import json_object, struct
from slipway_runtime.serve.dialects.rows import (
    ALONE,
    TOGETHER,
    checked_count,
    only,
    plain,
    row_request,
    to_json,
)
from slipway_runtime.serve.dialects.strict_json import strict_json
from slipway_runtime.serve.dialects.tensors import Tensor, elements
from slipway_runtime.serve.inference.service import Answer, TaskRequest
from slipway_runtime.tasks.adapter import Media

_SHAPE = '{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
MAX_TENSORS = 64
# Belongs to the whole of another tensor, not to one row of it.
_WHOLE = {"source_sentence": "sentences", "query": "texts"}
# What clients add for their own sake; without meaning here.
_IDLE_PARAMETERS = ("binary_data_output", "content_type", "headers")


class OutputName(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct, kw_only=True):
    """The body."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputName] | None = None


class OpenInference(Dialect):
    """The dialect."""

    name = "open-inference"

    def __init__(self, model_name: str, version: Callable[[], str], max_rows: int) -> None:
        self._model_name = model_name
        self._version = version
        self._max_rows = max_rows

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:
        if "inference-header-content-length" in headers:
            raise UnsupportedEncoding("the binary tensor extension is not served; send tensors as JSON")
        check_version(path.get("version"), self._version())
        asked = struct(json_object(body, headers, _SHAPE), InferRequest)
        parameters = {n: v for n, v in (asked.parameters or {}).items() if n not in _IDLE_PARAMETERS}
        inputs = self._requests(asked.inputs, parameters, path.get("model"))
        wanted = [output.name for output in asked.outputs or []]
        if len(wanted) > MAX_TENSORS or len(set(wanted)) < len(wanted):
            raise InvalidInput("outputs", f"must name each output once, and at most {MAX_TENSORS}")

        def reply(answers: Sequence[Answer]) -> Reply:
            return Reply(to_json(self._response(asked.id, answers, wanted)))

        return Exchange(inputs, reply)

    def render_error(self, error: RequestError) -> bytes:
        return orjson.dumps({"error": error.message})

    def _requests(
        self, tensors: Sequence[Tensor], parameters: Mapping[str, Any], model: str | None
    ) -> list[TaskRequest]:
        if not tensors:
            raise InvalidInput("inputs", "is empty; give at least one tensor")
        if len(tensors) > MAX_TENSORS:
            raise InvalidInput("inputs", f"has {len(tensors)} tensors, at most {MAX_TENSORS} are read")
        names = [tensor.name for tensor in tensors]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput("inputs", f"has the tensor {twice[:80]!r} twice")
        known = {name for name in names if name in ALONE or name in TOGETHER} or {names[0]}
        columns: dict[str, list[Any]] = {}
        common = dict(parameters)
        for i, tensor in enumerate(tensors):
            field = f"inputs[{i}]"
            if tensor.name not in known:
                values = elements(tensor, field)
                common[tensor.name] = values[0] if len(values) == 1 else values
            elif tensor.datatype != "BYTES":
                raise InvalidInput(
                    f"{field}.datatype", f"{tensor.datatype} is no input of a task here; send BYTES: texts, or base64"
                )
            else:
                values = elements(tensor, field)
                columns[tensor.name] = _tables(values, field) if tensor.name == "table" else values
        for name, other in _WHOLE.items():
            if name in columns and other in columns:
                return [self._whole(columns, name, other, common, model)]
        rows = _rows(columns)
        checked_count(rows, "inputs", self._max_rows)
        many = len(rows) > 1
        return [row_request(row, common, place=f"row {i}" if many else "", model=model) for i, row in enumerate(rows)]

    def _whole(
        self, columns: Mapping[str, list[Any]], name: str, other: str, common: Mapping[str, Any], model: str | None
    ) -> TaskRequest:
        if len(columns[name]) != 1:
            raise InvalidInput("inputs", f"{name} has {len(columns[name])} elements; give one, and many {other}")
        checked_count(columns[other], "inputs", self._max_rows)
        return TaskRequest({name: columns[name][0], other: columns[other]}, dict(common), model=model)

    def _response(self, identity: str | None, answers: Sequence[Answer], wanted: Sequence[str]) -> dict[str, Any]:
        outputs = _outputs(answers)
        missing = next((name for name in wanted if name not in outputs), None)
        if missing is not None:
            raise InvalidInput("outputs", f"there is no {missing[:80]!r} here; this answer has {', '.join(outputs)}")
        response: dict[str, Any] = {"model_name": self._model_name, "model_version": self._version()}
        if identity is not None:
            response["id"] = identity
        return {**response, "outputs": [outputs[name] for name in wanted or outputs]}


def check_version(asked: str | None, served: str) -> None:
    """NotFound unless it is the one version that is served."""
    if asked is not None and asked != served:
        raise NotFound(f"version {asked[:80]!r} is not served here; this is version {served}")


def _tables(values: Sequence[str], field: str) -> list[Any]:
    """A tensor has no tables: each comes as a string of JSON."""
    return [strict_json(value.encode(), f"{field}.data", f"element {i}") for i, value in enumerate(values)]


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise InvalidInput("inputs", f"the tensors differ in rows: {said}; give each the same")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _outputs(answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """The answers as tensors, by name."""
    if all(isinstance(answer.value, Media) for answer in answers):
        content = _tensor("content", [len(answers)], "BYTES", [plain(answer) for answer in answers])
        return {"content": {**content, "parameters": {"content_type": answers[0].value.type}}}
    rows = [plain(answer) for answer in answers]
    if all(hasattr(row, "shape") for row in rows):
        return _vectors(rows)
    if len(rows) == 1 and isinstance(rows[0], list) and all(isinstance(score, float) for score in rows[0]):
        return {"scores": _tensor("scores", [len(rows[0])], "FP32", rows[0])}
    rows = [only(row) if isinstance(only(row), list | dict) else row for row in rows]
    output = _tensor("output", [len(rows)], "BYTES", [to_json(row).decode() for row in rows])
    return {"output": output, **_fields(rows)}


def _vectors(rows: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Vectors of one width; vectors per token are filled up to the longest row."""
    if rows[0].ndim == 1:
        shape = [len(rows), *rows[0].shape]
        return {"embeddings": _tensor("embeddings", shape, "FP32", [x for row in rows for x in row.tolist()])}
    longest, width = max(row.shape[0] for row in rows), rows[0].shape[1]
    data: list[float] = []
    for row in rows:
        data += row.ravel().tolist() + [0.0] * (longest - row.shape[0]) * width
    return {
        "embeddings": _tensor("embeddings", [len(rows), longest, width], "FP32", data),
        "tokens": _tensor("tokens", [len(rows)], "INT64", [row.shape[0] for row in rows]),
    }


def _fields(rows: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """A tensor for each field of rows that are objects, or lists of objects of one length."""
    if all(isinstance(row, dict) for row in rows):
        cells, shape = list(rows), [len(rows)]
    elif all(isinstance(row, list) and row and len(row) == len(rows[0]) for row in rows):
        cells, shape = [cell for row in rows for cell in row], [len(rows), len(rows[0])]
    else:
        return {}
    if not all(isinstance(cell, dict) and cell.keys() == cells[0].keys() for cell in cells):
        return {}
    tensors = {}
    for name in cells[0]:
        values = [cell[name] for cell in cells]
        datatype = next((d for kind, d in _DATATYPES if all(type(value) is kind for value in values)), None)
        if datatype is not None and name != "output":
            tensors[name] = _tensor(name, shape, datatype, values)
    return tensors


_DATATYPES: tuple[tuple[type, str], ...] = ((str, "BYTES"), (bool, "BOOL"), (int, "INT64"), (float, "FP32"))


def _tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}
