"""What Open Inference Protocol v2 says of server and model: /v2, /v2/health/*, /v2/models/{model}."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from slipway_runtime import __version__
from slipway_runtime.errors import ModelLoading, NotFound, RequestError
from slipway_runtime.serve.dialects.open_inference import OpenInference, check_version
from slipway_runtime.serve.dialects.statuses import retry_after, status_of
from slipway_runtime.serve.inference.service import Service

# Task → its input tensors and its output tensors. -1: any size. Every task but those with vectors or scores also has
# `output`, each answer as JSON.
_TEXT = (("inputs", [-1]),)
_IMAGE, _AUDIO = (("image", [-1]),), (("audio", [-1]),)
_LABELS = (("label", "BYTES", [-1, -1]), ("score", "FP32", [-1, -1]))
_GENERATED = (("generated_text", "BYTES", [-1]),)
_ANSWER = (("answer", "BYTES", [-1]), ("score", "FP32", [-1]))
_MEDIA = (("content", "BYTES", [-1]),)
_Inputs = tuple[tuple[str, list[int]], ...]
_Outputs = tuple[tuple[str, str, list[int]], ...]
_TENSORS: dict[str, tuple[_Inputs, _Outputs]] = {
    "text-classification": (_TEXT, _LABELS),
    "token-classification": (_TEXT, ()),
    "feature-extraction": (_TEXT, (("embeddings", "FP32", [-1, -1]),)),
    "sentence-similarity": ((("source_sentence", [1]), ("sentences", [-1])), (("scores", "FP32", [-1]),)),
    "fill-mask": (
        _TEXT,
        (("score", "FP32", [-1, -1]), ("token", "INT64", [-1, -1]), ("token_str", "BYTES", [-1, -1]),
         ("sequence", "BYTES", [-1, -1])),
    ),
    "question-answering": (
        (("question", [-1]), ("context", [-1])),
        (*_ANSWER, ("start", "INT64", [-1]), ("end", "INT64", [-1])),
    ),
    "table-question-answering": ((("query", [-1]), ("table", [-1])), (("answer", "BYTES", [-1]),)),
    "zero-shot-classification": ((*_TEXT, ("candidate_labels", [-1])), _LABELS),
    "text-ranking": (
        (("query", [1]), ("texts", [-1])),
        (("index", "INT64", [1, -1]), ("score", "FP32", [1, -1])),
    ),
    "text-generation": (_TEXT, _GENERATED),
    "text2text-generation": (_TEXT, _GENERATED),
    "summarization": (_TEXT, (("summary_text", "BYTES", [-1]),)),
    "translation": (_TEXT, (("translation_text", "BYTES", [-1]),)),
    "automatic-speech-recognition": (_AUDIO, (("text", "BYTES", [-1]),)),
    "audio-classification": (_AUDIO, _LABELS),
    "text-to-speech": (_TEXT, _MEDIA),
    "image-classification": (_IMAGE, _LABELS),
    "zero-shot-image-classification": ((*_IMAGE, ("candidate_labels", [-1])), _LABELS),
    "object-detection": (_IMAGE, ()),
    "zero-shot-object-detection": ((*_IMAGE, ("candidate_labels", [-1])), ()),
    "image-segmentation": (_IMAGE, ()),
    "mask-generation": (_IMAGE, ()),
    "depth-estimation": (_IMAGE, (("depth", "BYTES", [-1]),)),
    "image-to-text": (_IMAGE, _GENERATED),
    "image-text-to-text": ((*_IMAGE, ("prompt", [-1])), _GENERATED),
    "visual-question-answering": (
        (*_IMAGE, ("question", [-1])),
        (("answer", "BYTES", [-1, -1]), ("score", "FP32", [-1, -1])),
    ),
    "document-question-answering": ((*_IMAGE, ("question", [-1])), ()),
    "text-to-image": (_TEXT, _MEDIA),
}  # fmt: skip
# Answers of these are not also given as JSON.
_WITHOUT_JSON = ("feature-extraction", "sentence-similarity", "text-to-speech", "text-to-image")


class OpenInferenceServer:
    """The GET routes."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def model_name(self) -> str:
        """The name that answers carry: the endpoint's, else the model's."""
        return self._service.settings.endpoint or self._service.settings.model_name

    def version(self) -> str:
        """The model's commit; "1" where it has none, or is not known yet."""
        artifact = self._service.lifecycle.artifact
        return (artifact.revision if artifact else None) or "1"

    def dialect(self) -> OpenInference:
        """The format of /infer for this server."""
        return OpenInference(self.model_name, self.version, self._service.settings.max_inputs)

    async def server(self, _: Request) -> Response:
        return _json({"name": "slipway", "version": __version__, "extensions": []})

    async def live(self, _: Request) -> Response:
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        """The protocol's text says `live`, KServe's clients read `ready`: both."""
        ready = self._ready
        return _json({"live": True, "ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        loaded = self._service.lifecycle.loaded
        if loaded is None:
            estimate = self._service.lifecycle.estimated_seconds
            return _error(ModelLoading(f"Model {self.model_name} is currently loading", estimate or 1.0))
        inputs, outputs = _TENSORS.get(loaded.task, (_TEXT, ()))
        if loaded.task not in _WITHOUT_JSON:
            outputs = (("output", "BYTES", [-1]), *outputs)
        return _json(
            {
                "name": self.model_name,
                "versions": [self.version()],
                "platform": "transformers",
                "inputs": [{"name": name, "datatype": "BYTES", "shape": shape} for name, shape in inputs],
                "outputs": [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        ready = self._ready
        return _json({"name": self.model_name, "ready": ready}, 200 if ready else 503)

    @property
    def _ready(self) -> bool:
        return self._service.lifecycle.stage == "Ready"

    def _refused(self, request: Request) -> Response | None:
        try:
            self._service.check_name(request.path_params["model"])
            check_version(request.path_params.get("version"), self.version())
        except NotFound as error:
            return _error(error)
        return None


def _error(error: RequestError) -> Response:
    after = retry_after(error)
    return _json({"error": error.message}, status_of(error), {"retry-after": str(after)} if after is not None else {})


def _json(content: dict[str, object], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
