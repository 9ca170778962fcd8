"""POST /v1/audio/transcriptions and /v1/audio/translations: forms with a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
import orjson

from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.dialects import Exchange, Reply
from slipway_runtime.serve.dialects.bodies import struct
from slipway_runtime.serve.dialects.openai import Context, OpenAI
from slipway_runtime.serve.dialects.openai.forms import Form, read_form
from slipway_runtime.serve.dialects.openai.requests import told
from slipway_runtime.serve.dialects.openai.subtitles import srt, vtt
from slipway_runtime.serve.inference.service import Answer, TaskRequest
from slipway_runtime.tasks.transcript import Segment, Transcript

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]
_TASKS = ("automatic-speech-recognition",)


class AudioRequest(msgspec.Struct, kw_only=True):
    """The form's fields beside the file. chunking_strategy is taken and changes nothing: long sound is always cut."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    response_format: Format = "json"
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    timestamp_granularities: list[Granularity] | None = None
    stream: bool | None = None
    chunking_strategy: str | None = None


class Audio(OpenAI):
    """The dialect of both routes."""

    name = "openai-audio"

    def __init__(self, context: Context, task: Literal["transcribe", "translate"]) -> None:
        super().__init__(context)
        self._task = task

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:  # noqa: ARG002
        form = read_form(body, headers)
        asked = _fields(form)
        if "file" not in form.files:
            raise InvalidInput("file", "is missing; send the recording as a file of the form")
        if asked.stream:
            raise InvalidInput("stream", "a transcript is not streamed; leave it out, or set it to false")
        if asked.timestamp_granularities and asked.response_format != "verbose_json":
            raise InvalidInput("timestamp_granularities", "needs response_format verbose_json")
        at = "response_format" if asked.response_format in ("srt", "vtt") else "timestamp_granularities"
        request = TaskRequest(
            form.files["file"],
            self._parameters(asked),
            tasks=_TASKS,
            model=asked.model,
            fields={"inputs": "file", **told(return_timestamps=at)},
        )

        def reply(answers: Sequence[Answer]) -> Reply:
            return _reply(answers[0].value, asked)

        return Exchange([request], reply)

    def _parameters(self, asked: AudioRequest) -> dict[str, Any]:
        found = {"language": asked.language, "prompt": asked.prompt or None, "temperature": asked.temperature}
        if self._task == "translate":
            if asked.language is not None:
                raise InvalidInput("language", "is found by the model, and the translation is English; leave it out")
            found["task"] = "translate"
        if "word" in (asked.timestamp_granularities or ()):
            found["return_timestamps"] = "word"
        elif asked.response_format not in ("json", "text"):
            found["return_timestamps"] = True
        return {name: value for name, value in found.items() if value is not None}


def _fields(form: Form) -> AudioRequest:
    """Texts of a form → their types. Lists come as `name[]`, once or several times."""
    given: dict[str, Any] = {}
    for name, values in form.fields.items():
        if name.removesuffix("[]") == "timestamp_granularities":
            given.setdefault("timestamp_granularities", []).extend(values)
            continue
        if name == "file":
            raise InvalidInput("file", "must be a file of the form: with a filename")
        if len(values) > 1:
            raise InvalidInput(name[:80], "is given twice")
        given[name] = _typed(name, values[0])
    return struct(given, AudioRequest)


def _typed(name: str, value: str) -> Any:
    if name == "stream":
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    if name == "temperature":
        try:
            return float(value)
        except ValueError:
            raise InvalidInput(name, f"must be a number, got {value[:40]!r}") from None
    return value if value.strip() else None


def _reply(found: Transcript, asked: AudioRequest) -> Reply:
    text = found.text.strip()
    match asked.response_format:
        case "text":
            return Reply(f"{text}\n".encode(), "text/plain; charset=utf-8")
        case "srt":
            return Reply(srt(_closed(found)).encode(), "text/plain; charset=utf-8")
        case "vtt":
            return Reply(vtt(_closed(found)).encode(), "text/vtt; charset=utf-8")
        case "verbose_json":
            return Reply(orjson.dumps(_verbose(found, text, asked)))
        case _:
            return Reply(orjson.dumps({"text": text, "usage": _usage(found)}))


def _verbose(found: Transcript, text: str, asked: AudioRequest) -> dict[str, Any]:
    wanted = asked.timestamp_granularities or ["segment"]
    content: dict[str, Any] = {
        "task": found.task,
        "language": found.language_name or found.language,
        "duration": found.duration,
        "text": text,
    }
    if "word" in wanted:
        content["words"] = [
            {"word": word.text.strip(), "start": word.start, "end": _end(word.end, found)} for word in found.words
        ]
    if "segment" in wanted:
        content["segments"] = [
            {
                "id": i,
                "seek": 0,
                "start": segment.start,
                "end": _end(segment.end, found),
                "text": segment.text,
                "tokens": segment.tokens,
                "temperature": segment.temperature,
                "avg_logprob": segment.avg_logprob,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": None,
            }
            for i, segment in enumerate(_segments(found))
        ]
    return {**content, "usage": _usage(found)}


def _segments(found: Transcript) -> tuple[Segment, ...]:
    """At least one: models that know no phrases give words alone."""
    return found.segments or (Segment(found.text, 0.0, found.duration),)


def _closed(found: Transcript) -> list[Segment]:
    return [replace(segment, end=_end(segment.end, found)) for segment in _segments(found)]


def _end(end: float | None, found: Transcript) -> float:
    return found.duration if end is None else end


def _usage(found: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": found.duration}
