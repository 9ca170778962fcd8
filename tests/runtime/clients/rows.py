"""The table: what each client is asked for each task, or why it cannot be asked.

Standard library only: the older clients' environment reads it too.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.runtime.clients.samples import png, wav

PNG, WAV = png(), wav()
B64 = {"image": base64.b64encode(PNG).decode(), "audio": base64.b64encode(WAV).decode()}
DATA_URI = f"data:image/png;base64,{B64['image']}"
TABLE = {"city": ["paris", "london"], "people": ["two", "nine"]}
CHAT = [{"role": "user", "content": "the film was great"}]

Pick = Callable[[Any], Any]


def whole(answer: Any) -> Any:
    return answer


def first(answer: Any) -> Any:
    return answer[0]


@dataclass(frozen=True)
class Row:
    """One task."""

    body: dict[str, Any] | bytes
    """What curl sends to `/`."""
    hub: dict[str, Any] | None = None
    """Arguments of InferenceClient's method of the task's name; None where it has none."""
    pick: Pick = whole
    """From curl's answer to what InferenceClient makes of it."""
    text_generation: bool = False
    openai: tuple[str, ...] = ()
    """Names of functions in openai_calls.py; empty: OpenAI's API has no call for this task."""
    loose: bool = False
    """The client turns the answer into an object of its own (an image): compared by its size."""


def _text(task_input: Any, **parameters: Any) -> dict[str, Any]:
    return {"inputs": task_input, "parameters": parameters} if parameters else {"inputs": task_input}


ROWS: dict[str, Row] = {
    "text-classification": Row(_text("a great film"), {"text": "a great film"}, first),
    "token-classification": Row(_text("paris is in france"), {"text": "paris is in france"}),
    "feature-extraction": Row(
        _text("a great film"), {"text": "a great film"}, openai=("embeddings", "embeddings_float")
    ),
    "sentence-similarity": Row(
        _text({"source_sentence": "a cat", "sentences": ["a dog", "rain"]}),
        {"sentence": "a cat", "other_sentences": ["a dog", "rain"]},
        openai=("embeddings", "embeddings_float"),
    ),
    "fill-mask": Row(_text("the [MASK] was great"), {"text": "the [MASK] was great"}),
    "question-answering": Row(
        _text({"question": "what is big", "context": "the city of london is big ."}),
        {"question": "what is big", "context": "the city of london is big ."},
    ),
    "table-question-answering": Row(
        _text({"query": "how big is paris", "table": TABLE}), {"query": "how big is paris", "table": TABLE}
    ),
    "zero-shot-classification": Row(
        _text("a great film", candidate_labels=["film", "city"]),
        {"text": "a great film", "candidate_labels": ["film", "city"]},
    ),
    "text-ranking": Row(_text({"query": "a cat", "texts": ["a dog", "rain"]})),
    "text-generation": Row(
        _text("the film was", max_new_tokens=8, return_full_text=False, do_sample=False),
        {"prompt": "the film was", "max_new_tokens": 8, "return_full_text": False, "do_sample": False},
        lambda answer: answer[0]["generated_text"],
        text_generation=True,
        openai=("completion", "completion_stream", "chat", "chat_stream"),
    ),
    "text2text-generation": Row(_text("the film was", max_new_tokens=8), openai=("completion", "completion_stream")),
    "summarization": Row(_text("the film was great"), {"text": "the film was great"}, first),
    "translation": Row(_text("the film was great"), {"text": "the film was great"}, first),
    "automatic-speech-recognition": Row(WAV, {"audio": WAV}, openai=("transcription", "translation")),
    "audio-classification": Row(WAV, {"audio": WAV}),
    "text-to-speech": Row(_text("a cat and a dog"), {"text": "a cat and a dog"}, loose=True),
    "image-classification": Row(PNG, {"image": PNG}),
    "zero-shot-image-classification": Row(
        _text(B64["image"], candidate_labels=["a cat", "a dog"]),
        {"image": PNG, "candidate_labels": ["a cat", "a dog"]},
    ),
    "object-detection": Row(_text(B64["image"], threshold=0.0), {"image": PNG, "threshold": 0.0}),
    "zero-shot-object-detection": Row(_text(B64["image"], candidate_labels=["a cat", "a dog"], threshold=0.0)),
    "image-segmentation": Row(PNG, {"image": PNG}, loose=True),
    "mask-generation": Row(PNG),
    "depth-estimation": Row(PNG),
    "image-to-text": Row(PNG, {"image": PNG}, first),
    "image-text-to-text": Row(
        _text({"images": [B64["image"]], "text": "a cat"}, max_new_tokens=8), openai=("chat_image", "chat_image_stream")
    ),
    "visual-question-answering": Row(
        _text({"question": "what is it", "image": B64["image"]}), {"image": PNG, "question": "what is it"}
    ),
    "document-question-answering": Row(
        _text({"question": "what is it", "image": B64["image"]}), {"image": PNG, "question": "what is it"}
    ),
    "text-to-image": Row(
        _text("a cat", num_inference_steps=2, height=64, width=64, seed=1),
        {"prompt": "a cat", "num_inference_steps": 2, "height": 64, "width": 64, "seed": 1},
        loose=True,
    ),
}
