"""POST /tokenize and /chat_tokenize, as text-generation-inference has them: the tokens that a request would have."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects.bodies import json_object, struct
from slipway_runtime.serve.dialects.openai.requests import CHAT_FIELDS, ChatRequest, chat_of
from slipway_runtime.serve.dialects.tgi import TextGenerationInference
from slipway_runtime.serve.edge.http import TaskEndpoint, headers_of, read_body, send_body
from slipway_runtime.serve.inference.service import Service, told
from slipway_runtime.tasks.adapter import Limits, Loaded


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """The body of /tokenize. Parameters are those of /generate, of which none matters here."""

    inputs: str
    add_special_tokens: bool = True
    parameters: dict[str, Any] | None = None


class Tokenize(TaskEndpoint):
    """Both routes; `chat`: the body is that of /v1/chat/completions."""

    def __init__(self, service: Service, *, chat: bool = False) -> None:
        super().__init__(service, TextGenerationInference(stream=False))
        self._chat = chat

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        body = await read_body(headers, receive, self._service.settings.max_body_bytes, self._body_time)
        shape = '{"messages": […]}' if self._chat else '{"inputs": …}'
        data = json_object(body, headers, shape)
        if self._chat:
            asked = struct(data, ChatRequest)
            self._service.check_name(asked.model)
            limits = Limits(max_inputs=self._service.settings.max_inputs)
            content = await self._service.with_model(lambda loaded: _of_chat(loaded, chat_of(asked), limits))
        else:
            plain = struct(data, TokenizeRequest)
            content = await self._service.with_model(
                lambda loaded: _of_text(loaded, plain.inputs, plain.add_special_tokens)
            )
        await send_body(send, 200, orjson.dumps(content))


def _of_text(loaded: Loaded, text: str, special_tokens: bool) -> Any:
    from slipway_runtime.tasks.tokens import pieces  # noqa: PLC0415 - imports torch, which a loaded model has done

    return [dataclasses.asdict(piece) for piece in pieces(loaded, text, special_tokens=special_tokens)]


def _of_chat(loaded: Loaded, chat: dict[str, Any], limits: Limits) -> Any:
    from slipway_runtime.tasks.tokens import templated  # noqa: PLC0415 - as above

    try:
        text = templated(loaded, chat, limits)
    except InvalidInput as error:
        raise told(error, CHAT_FIELDS) from None
    return {"tokenize_response": _of_text(loaded, text, special_tokens=False), "templated_text": text}
