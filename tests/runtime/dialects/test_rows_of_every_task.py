"""Every task end to end by Azure's tables and by Open Inference's tensors: real servers, tiny models."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.conftest import Serve
from tests.support.runtime_server import RuntimeServer
from tests.support.sounds import encoded, sine
from tests.support.tiny import MAKERS, multimodal

PICTURE = base64.b64encode(multimodal.image_bytes()).decode()
SOUND = base64.b64encode(encoded(sine(0.5))).decode()
TEXT = {"text": "the film was great"}
TABLE = {"City": ["paris", "london"], "Big": ["3", "9"]}

# Task → (the columns of one row, what else is asked of it).
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fill-mask": ({"input_string": "paris is the [MASK] of france ."}, {}),
    "token-classification": ({"input_string": "paris is great"}, {}),
    "question-answering": ({"question": "who ?", "context": "the cat and the dog"}, {}),
    "summarization": (TEXT, {"max_new_tokens": 4}),
    "text-generation": (TEXT, {"max_new_tokens": 4}),
    "text-classification": (TEXT, {}),
    "translation": (TEXT, {"max_new_tokens": 4}),
    "image-classification": ({"image": PICTURE}, {}),
    "zero-shot-image-classification": ({"image": PICTURE, "candidate_labels": ["egg", "milk", "juice"]}, {}),
    "text-to-image": ({"prompt": "a horse"}, {"num_inference_steps": 1}),
    "feature-extraction": (TEXT, {}),
    "sentence-similarity": ({"source_sentence": "a cat", "sentences": ["a dog", "it is rain"]}, {}),
    "zero-shot-classification": ({"text": "a film", "candidate_labels": ["good", "bad"]}, {}),
    "text-ranking": ({"query": "a cat", "texts": ["a dog", "it is rain"]}, {}),
    "table-question-answering": ({"query": "big ?", "table": TABLE}, {}),
    "automatic-speech-recognition": ({"audio": SOUND}, {}),
    "audio-classification": ({"audio": SOUND}, {}),
    "text-to-speech": (TEXT, {}),
    "object-detection": ({"image": PICTURE}, {"threshold": 0.0}),
    "zero-shot-object-detection": ({"image": PICTURE, "candidate_labels": ["egg", "milk"]}, {"threshold": 0.0}),
    "image-segmentation": ({"image": PICTURE}, {}),
    "mask-generation": ({"image": PICTURE}, {"points_per_crop": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0}),
    "depth-estimation": ({"image": PICTURE}, {}),
    "image-to-text": ({"image": PICTURE}, {}),
    "image-text-to-text": ({"image": PICTURE, "prompt": "a"}, {"max_new_tokens": 4}),
    "visual-question-answering": ({"image": PICTURE, "question": "what ?"}, {}),
    "document-question-answering": ({"image": PICTURE, "question": "what ?"}, {}),
    "text2text-generation": (TEXT, {"max_new_tokens": 4}),
}
OFTEN = ("token-classification", "question-answering", "text-generation", "translation", "image-classification",
         "zero-shot-image-classification", "text-ranking", "table-question-answering")  # fmt: skip
CASES = [pytest.param(task, marks=() if task in OFTEN else pytest.mark.full) for task in ROWS if task in MAKERS]


def shape_of(task: str, answer: Any) -> bool:
    """Whether one row's answer looks as Azure's wrappers have it."""
    match task:
        case "fill-mask" | "summarization" | "translation" | "text-generation" | "question-answering":
            return isinstance(answer, str)
        case "token-classification":
            return len(answer) == 3 and all(isinstance(tag, str) for tag in answer)
        case "text-classification":
            return set(answer) == {"label", "score"}
        case "image-classification" | "zero-shot-image-classification":
            return set(answer) == {"probs", "labels"} and len(answer["probs"]) == len(answer["labels"])
        case "text-to-image":
            return set(answer) == {"prompt", "generated_image", "nsfw_content_detected"}
    return answer is not None


def tensors(row: dict[str, Any]) -> list[dict[str, Any]]:
    made = []
    for name, value in row.items():
        data = value if isinstance(value, list) else [value]
        made.append({"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data})
    return made


@pytest.mark.parametrize("task", CASES)
def test_a_row_is_answered_in_both_formats(serve: Serve, tmp_path: Path, task: str) -> None:
    row, parameters = ROWS[task]
    with serve(MAKERS[task](tmp_path / "model"), SLIPWAY_TASK=task, SLIPWAY_ENDPOINT="x") as server:
        score(server, task, row, parameters)
        infer(server, row, parameters)


def score(server: RuntimeServer, task: str, row: dict[str, Any], parameters: dict[str, Any]) -> None:
    table = {"columns": list(row), "index": [0, 1], "data": [list(row.values())] * 2}
    answer = server.post({"input_data": table, "params": parameters}, "/score")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == 2
    assert all(shape_of(task, entry) for entry in answer.json()), answer.text[:500]


def infer(server: RuntimeServer, row: dict[str, Any], parameters: dict[str, Any]) -> None:
    if "table" in row:
        row = row | {"table": httpx.Response(200, json=row["table"]).text}  # a tensor's element is a string
    answer = server.post({"inputs": tensors(row), "parameters": parameters}, "/v2/models/x/infer")
    assert answer.status_code == 200, answer.text
    found = {output["name"]: output for output in answer.json()["outputs"]}
    said = httpx.get(f"{server.url}/v2/models/x").json()
    assert {tensor["name"] for tensor in said["inputs"]} <= {*row, "inputs"}, "text has several names"
    for output in said["outputs"]:
        assert found[output["name"]]["datatype"] == output["datatype"]
        shape = found[output["name"]]["shape"]
        assert len(shape) == len(output["shape"])
        assert all(wanted in (-1, size) for wanted, size in zip(output["shape"], shape, strict=True))


def test_clip_rows_inherit_labels(serve: Serve, tmp_path: Path) -> None:
    body = {
        "input_data": {
            "columns": ["image", "text"],
            "index": [0, 1],
            "data": [[PICTURE, "egg, milk, juice"], [PICTURE, ""]],
        },
        "params": {},
    }
    with serve(MAKERS["zero-shot-image-classification"](tmp_path / "clip")) as server:
        for path in ("/score", "/"):
            first, second = server.post(body, path).json()
            assert first["labels"] == second["labels"] == ["egg", "milk", "juice"]
            assert first["probs"] == pytest.approx(second["probs"], abs=1e-5)
            assert sum(first["probs"]) == pytest.approx(1, abs=1e-5)
