"""POST /v1/embeddings. OpenAI's own client asks for base64 unless told otherwise."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import Exchange, Reply
from slipway_runtime.serve.dialects.bodies import json_object, struct
from slipway_runtime.serve.dialects.openai import OpenAI
from slipway_runtime.serve.dialects.openai.requests import EmbeddingRequest, prompts, told
from slipway_runtime.serve.inference.service import Answer, TaskRequest

_SHAPE = '{"model": …, "input": …}'


class Embeddings(OpenAI):
    """The dialect of this route."""

    name = "openai-embeddings"

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:  # noqa: ARG002
        asked = struct(json_object(body, headers, _SHAPE), EmbeddingRequest)
        parameters = {"dimensions": asked.dimensions, "truncate": asked.truncate, "prompt_name": asked.prompt_name}
        request = TaskRequest(
            prompts(asked.input, "input"),
            parameters,
            tasks=("feature-extraction",),
            model=asked.model,
            fields={"inputs": "input", **told()},
        )

        def reply(answers: Sequence[Answer]) -> Reply:
            vectors: list[Any] = answers[0].value
            if vectors[0].ndim != 1:
                raise InvalidInput("model", "this model gives a vector per token, not per text; ask POST / for them")
            data = [
                {"object": "embedding", "index": i, "embedding": _written(vector, asked.encoding_format)}
                for i, vector in enumerate(vectors)
            ]
            tokens = answers[0].input_tokens
            content = {
                "object": "list",
                "data": data,
                "model": self._context.called(asked.model),
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
            return Reply(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))

        return Exchange([request], reply)


def _written(vector: Any, encoding: str) -> Any:
    """A numpy array of float32, or base64 of it in little-endian order."""
    return vector if encoding == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()
