"""Pieces of the document that every route has: bodies, responses, errors in each format's own shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slipway_runtime import errors as e
from slipway_runtime.serve.dialects import Dialect
from slipway_runtime.serve.dialects.statuses import status_of
from slipway_runtime.serve.openapi.answers import NUMBER, Schema, record

_STRING: Schema = {"type": "string"}
_NULLABLE: Schema = {"type": ["string", "null"]}
# The shapes of errors, by name.
ERRORS: dict[str, Schema] = {
    "Error": record({"error": _STRING, "error_type": _STRING}, {"estimated_time": NUMBER, "status": _STRING}),
    "OpenAIError": record(
        {"error": record({"message": _STRING, "type": _STRING, "param": _NULLABLE, "code": _NULLABLE})}
    ),
    "OpenInferenceError": record({"error": _STRING}),
    "AzureError": record({"error": record({"code": _STRING, "message": _STRING}), "message": _STRING}),
}
_OF_A_TASK: tuple[tuple[type[e.RequestError], str], ...] = (
    (e.InvalidInput, "the request names a field that cannot be used, and says what is allowed"),
    (e.NotFound, "no such task or model here"),
    (e.BodyTooLarge, "the body is larger than allowed"),
    (e.UnsupportedEncoding, "a compressed body, or a media type that is not read here"),
    (e.Overloaded, "the queue is full; Retry-After says when to come back"),
    (e.InferenceFailed, "the forward failed on this input"),
    (e.RequestError, "an internal error"),
    (e.ModelLoading, "the model is still loading, has failed to load, or the server is shutting down"),
    (e.DeadlineExceeded, "not answered in time"),
)
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "seconds"}}


def ref(name: str) -> Schema:
    """A named schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def response(description: str, schema: Schema | None = None, **media: Schema) -> dict[str, Any]:
    """A response with a JSON body; `media` adds other media types (a_b is a/b)."""
    content: dict[str, Any] = {} if schema is None else {"application/json": {"schema": schema}}
    content |= {name.replace("_", "/", 1): {"schema": kind} for name, kind in media.items()}
    return {"description": description, **({"content": content} if content else {})}


def failures(dialect: type[Dialect] | Dialect, shape: str) -> dict[str, Any]:
    """The responses of every error that a task's route has, by status."""
    found: dict[str, Any] = {}
    for kind, words in _OF_A_TASK:
        example = kind.__new__(kind)  # its type decides the status
        status = str(dialect.statuses.get(kind, status_of(example)))
        if status not in found:
            found[status] = response(words, ref(shape))
            if status in ("429", "503"):
                found[status]["headers"] = _RETRY_AFTER
    return found


def posted(
    summary: str,
    body: Mapping[str, Schema],
    answer: Mapping[str, Any],
    errors: Mapping[str, Any],
    *,
    tag: str,
    parameters: Iterable[Mapping[str, Any]] = (),
    description: str = "",
) -> dict[str, Any]:
    """A POST operation; `body`: media type → schema."""
    content = {media: {"schema": schema} for media, schema in body.items()}
    return {
        "post": {
            "tags": [tag],
            "summary": summary,
            **({"description": description} if description else {}),
            **({"parameters": list(parameters)} if parameters else {}),
            "requestBody": {"required": True, "content": content},
            "responses": {"200": dict(answer), **errors},
        }
    }


def got(
    summary: str, responses: Mapping[str, Any], *, tag: str, parameters: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """A GET operation."""
    more = {"parameters": list(parameters)} if parameters else {}
    return {"get": {"tags": [tag], "summary": summary, **more, "responses": dict(responses)}}


def in_path(name: str, values: Iterable[str], description: str = "") -> dict[str, Any]:
    """A part of the path, which is one of `values`."""
    known = list(dict.fromkeys(values))
    schema: Schema = {"type": "string", **({"enum": known} if known else {})}
    return {
        "name": name, "in": "path", "required": True, "schema": schema,
        **({"description": description} if description else {}),
    }  # fmt: skip
