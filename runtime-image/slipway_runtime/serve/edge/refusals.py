"""Errors of requests that reach no route: in the shape of the format that their path belongs to."""

from __future__ import annotations

from slipway_runtime.errors import RequestError
from slipway_runtime.serve.dialects import Dialect
from slipway_runtime.serve.dialects.azure import Azure
from slipway_runtime.serve.dialects.huggingface import HuggingFace
from slipway_runtime.serve.dialects.open_inference import OpenInference
from slipway_runtime.serve.dialects.openai import Context
from slipway_runtime.serve.dialects.openai.chat import ChatCompletions
from slipway_runtime.serve.dialects.statuses import headers_for, status_of

# They only write errors here, for which none of their arguments matters.
_DEFAULT: Dialect = HuggingFace()
_BY_FIRST: dict[str, Dialect] = {
    "v1": ChatCompletions(Context("")),
    "v2": OpenInference("", lambda: "", 0),
    "score": Azure(0),
}


def format_of(path: str) -> Dialect:
    """Whose shape errors on this path have: Hugging Face's, unless the path's first part says another."""
    return _BY_FIRST.get(path[1:].partition("/")[0], _DEFAULT)


def refusal(path: str, error: RequestError) -> tuple[int, list[tuple[str, str]], bytes]:
    """(status, headers beside those of the body, body)."""
    dialect = format_of(path)
    status = dialect.statuses.get(type(error), status_of(error))
    return status, [*headers_for(error), *dialect.error_headers(error)], dialect.render_error(error)
