"""Amazon SageMaker's contract for containers: GET /ping, POST /invocations.

The body is Hugging Face's: JSON, or the bytes of an image or a recording with a content type such as audio/x-audio or
image/x-image. A body with `messages` is an OpenAI chat, and one with `input_data` a table as on /score. The header
X-Amzn-SageMaker-Custom-Attributes is the caller's own affair and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from slipway_runtime.serve.dialects import Dialect
from slipway_runtime.serve.dialects.dispatch import Dispatch
from slipway_runtime.serve.inference.service import Service


def invocations(huggingface: Dialect, others: Mapping[str, Dialect]) -> Dispatch:
    """The format of /invocations; `others` by the field that tells them."""
    return Dispatch(huggingface, others)


class Ping:
    """GET /ping."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ping(self, _: Request) -> Response:
        """An empty 200 when a request would be answered now, else 503."""
        return Response(status_code=200 if self._service.lifecycle.stage == "Ready" else 503)
