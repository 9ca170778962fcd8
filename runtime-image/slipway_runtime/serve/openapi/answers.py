"""What each task takes and answers with in Hugging Face's format, as JSON Schema. A new task adds its line.

A task that has none is described as any JSON.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": "string", "minLength": 1}
MEDIA: Schema = {"type": "string", "contentEncoding": "base64", "description": "a file's bytes, or a data: URI of them"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def many(items: Schema, **limits: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **limits}


def either(*schemas: Schema) -> Schema:
    """One of them."""
    return {"anyOf": list(schemas)}


def one_or_many(schema: Schema) -> Schema:
    """Of one input, or of a list of inputs."""
    return either(schema, many(schema))


_STRING: Schema = {"type": "string"}
_LABELS = many(record({"label": _STRING, "score": NUMBER}))
_TEXTS = one_or_many(TEXT)
_BOX = record(dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), NUMBER))
_ENTITY = record(
    {"word": _STRING, "score": NUMBER},
    {"entity": _STRING, "entity_group": _STRING, "index": INTEGER, "start": INTEGER, "end": INTEGER},
)
_CHOICE = record({"sequence": _STRING, "score": NUMBER, "token": INTEGER, "token_str": _STRING})
_SPAN = record({"answer": _STRING}, {"score": NUMBER, "start": INTEGER, "end": INTEGER})
_GENERATED = record({"generated_text": either(_STRING, many(ANY))}, {"details": ANY})
_CELLS = record({"answer": _STRING, "coordinates": many(many(INTEGER)), "cells": many(_STRING), "aggregator": _STRING})
_NUMBERS = either(many(NUMBER), many(many(NUMBER)), many(many(many(NUMBER))), _STRING, many(_STRING))
_CHAT = many(record({"role": _STRING, "content": ANY}), minItems=1)
_QUESTION = record({"question": TEXT, "image": MEDIA})

INPUTS: dict[str, Schema] = {
    "feature-extraction": _TEXTS,
    "sentence-similarity": record({"source_sentence": TEXT, "sentences": many(TEXT, minItems=1)}),
    "text-classification": one_or_many(either(TEXT, record({"text": TEXT}, {"text_pair": TEXT}))),
    "token-classification": _TEXTS,
    "fill-mask": _TEXTS,
    "question-answering": one_or_many(record({"question": TEXT, "context": TEXT})),
    "table-question-answering": record({"query": either(TEXT, many(TEXT)), "table": ANY}),
    "zero-shot-classification": _TEXTS,
    "text-ranking": record({"query": TEXT, "texts": many(TEXT, minItems=1)}),
    "text-generation": either(_TEXTS, _CHAT),
    "text2text-generation": _TEXTS,
    "summarization": _TEXTS,
    "translation": _TEXTS,
    "text-to-speech": TEXT,
    "text-to-image": TEXT,
    "visual-question-answering": _QUESTION,
    "document-question-answering": _QUESTION,
    "image-text-to-text": either(_CHAT, ANY),
    **dict.fromkeys(
        ("automatic-speech-recognition", "audio-classification", "image-classification",
         "zero-shot-image-classification", "object-detection", "zero-shot-object-detection", "image-segmentation",
         "mask-generation", "depth-estimation", "image-to-text"),
        one_or_many(MEDIA),
    ),
}  # fmt: skip

ANSWERS: dict[str, Schema] = {
    "feature-extraction": _NUMBERS,
    "sentence-similarity": many(NUMBER),
    "text-classification": many(_LABELS),
    "token-classification": one_or_many(many(_ENTITY)),
    "fill-mask": one_or_many(one_or_many(many(_CHOICE))),
    "question-answering": one_or_many(one_or_many(_SPAN)),
    "table-question-answering": one_or_many(_CELLS),
    "zero-shot-classification": one_or_many(
        either(_LABELS, record({"labels": many(_STRING), "scores": many(NUMBER)}, {"sequence": _STRING}))
    ),
    "text-ranking": many(record({"index": INTEGER, "score": NUMBER}, {"text": _STRING})),
    "text-generation": one_or_many(many(_GENERATED)),
    "text2text-generation": one_or_many(many(_GENERATED)),
    "image-text-to-text": one_or_many(many(_GENERATED)),
    "image-to-text": one_or_many(many(_GENERATED)),
    "summarization": one_or_many(many(record({"summary_text": _STRING}))),
    "translation": one_or_many(many(record({"translation_text": _STRING}))),
    "automatic-speech-recognition": one_or_many(record({"text": _STRING}, {"chunks": many(ANY)})),
    "visual-question-answering": one_or_many(many(record({"answer": _STRING}, {"score": NUMBER}))),
    "document-question-answering": one_or_many(many(_SPAN)),
    "object-detection": one_or_many(many(record({"label": _STRING, "score": NUMBER, "box": _BOX}))),
    "zero-shot-object-detection": one_or_many(many(record({"label": _STRING, "score": NUMBER, "box": _BOX}))),
    "image-segmentation": one_or_many(many(record({"label": _STRING, "score": NUMBER, "mask": MEDIA}))),
    "mask-generation": one_or_many(record({"masks": many(MEDIA), "scores": many(NUMBER)})),
    "depth-estimation": one_or_many(record({"depth": MEDIA, "predicted_depth": many(many(NUMBER))})),
    **dict.fromkeys(
        ("audio-classification", "image-classification", "zero-shot-image-classification"), one_or_many(_LABELS)
    ),
}  # fmt: skip

# Answers that are no JSON.
BINARY = {
    "text-to-speech": ("audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"),
    "text-to-image": ("image/png", "image/jpeg", "image/webp"),
}
