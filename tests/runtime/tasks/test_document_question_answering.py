"""document-question-answering: LayoutLM and LayoutLMv3 over given words, Donut over pixels."""

from __future__ import annotations

import base64
import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Loaded

from tests.support.asking import ask, load
from tests.support.tiny import multimodal

transformers: Any = importlib.import_module("transformers")  # half typed

PAGE = multimodal.image_bytes(60, 80)
TEXT = "the film is great , i love it . paris is the capital of france . an awful movie , very bad ."
BOXES = [[word, [10 * i, 20, 10 * i + 9, 40]] for i, word in enumerate(TEXT.split())]
QUESTION = "what is the capital of france ?"
MAKERS: dict[str, Callable[[Path], Path]] = {"layoutlm": multimodal.layoutlm, "layoutlmv3": multimodal.layoutlmv3}


@pytest.fixture(scope="module", params=MAKERS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded, str]:
    folder = MAKERS[request.param](tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder), request.param


@pytest.fixture(scope="module")
def layoutlm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = multimodal.layoutlm(tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder)


@pytest.fixture(scope="module")
def donut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = multimodal.donut(tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder)


def page() -> dict[str, Any]:
    return {"image": base64.b64encode(PAGE).decode(), "question": QUESTION}


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [(a["answer"], a["start"], a["end"]) for a in found] == [
        (a["answer"], a["start"], a["end"]) for a in expected
    ]
    np.testing.assert_allclose([a["score"] for a in found], [a["score"] for a in expected], atol=1e-4)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"top_k": 4}, {"top_k": 3, "max_answer_len": 2}, {"top_k": 2, "handle_impossible_answer": True},
     {"top_k": 3, "max_seq_len": 24, "doc_stride": 4}],
)  # fmt: skip
def test_answers_are_those_of_transformers_pipeline(layoutlm: tuple[Path, Loaded], parameters: dict[str, Any]) -> None:
    folder, loaded = layoutlm
    pipeline = transformers.pipeline("document-question-answering", model=str(folder))
    expected = pipeline(image=None, question=QUESTION, word_boxes=BOXES, **parameters)
    assert_same(ask(loaded, page(), word_boxes=BOXES, **parameters), expected)


def test_a_model_that_looks_gets_the_pixels_too(tmp_path: Path) -> None:
    folder = multimodal.layoutlmv3(tmp_path / "model")
    loaded = load(folder)
    model = transformers.LayoutLMv3ForQuestionAnswering.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = transformers.AutoImageProcessor.from_pretrained(folder, apply_ocr=False)(
        Image.open(io.BytesIO(PAGE)), return_tensors="pt"
    )
    few = BOXES[:6]
    made = tokenizer(["a ?"], [[word for word, _ in few]], boxes=[[box for _, box in few]], return_tensors="pt")
    with torch.inference_mode():
        output = model(**made, **pixels)
    adapter: Any = loaded.adapters[loaded.task]
    call = adapter.parse({"image": PAGE, "question": "a ?"}, adapter.parameters(word_boxes=few))
    _, start, end = run_batch(adapter.preprocess(call))[0]
    size = made["input_ids"].shape[1]
    assert output.start_logits.shape[1] > size
    np.testing.assert_allclose(start, output.start_logits[0, :size], atol=1e-4)
    np.testing.assert_allclose(end, output.end_logits[0, :size], atol=1e-4)


def test_pages_read_together_are_answered_as_alone(reader: tuple[Path, Loaded, str]) -> None:
    _, loaded, _ = reader
    asked = [page() | {"word_boxes": BOXES[:n]} for n in (3, 9, len(BOXES))]
    for together, one in zip(ask(loaded, asked, top_k=3), asked, strict=True):
        assert_same(together, ask(loaded, one, top_k=3))


def test_a_long_page_is_read_in_windows(reader: tuple[Path, Loaded, str]) -> None:
    _, loaded, _ = reader
    adapter: Any = loaded.adapters[loaded.task]
    call = adapter.parse(page(), adapter.parameters(word_boxes=BOXES * 3, doc_stride=5))
    items = adapter.preprocess(call)
    assert len(items) > 2
    assert ask(loaded, page(), word_boxes=BOXES * 3)[0]["answer"]


def test_the_first_forward_is_an_ordinary_page(reader: tuple[Path, Loaded, str]) -> None:
    assert not isinstance(run_batch(reader[1].adapters[reader[1].task].warmup())[0], Exception)


@pytest.mark.parametrize(
    ("inputs", "parameters", "words"),
    [
        ({}, {}, "parameters.word_boxes: is missing: there is no OCR here, so this model needs the page's words"),
        ({}, {"word_boxes": []}, "parameters.word_boxes: must be a list of [word, [x0, y0, x1, y1]]"),
        ({}, {"word_boxes": [["a"]]}, "parameters.word_boxes[0]: must be [word, [x0"),
        ({}, {"word_boxes": [["a", [0, 0, 9]]]}, "parameters.word_boxes[0][1]: must be four numbers"),
        (
            {},
            {"word_boxes": [["a", [0, 0, 9, 1001]]]},
            "parameters.word_boxes[0][1]: is [0, 0, 9, 1001]; from 0 to 1000",
        ),
        ({}, {"word_boxes": [["a", [9, 0, 0, 9]]]}, "parameters.word_boxes[0][1]: is [9, 0, 0, 9]"),
        ({"word_boxes": 3}, {}, "inputs.word_boxes: must be a list"),
        ({"question": "rain " * 60}, {"word_boxes": BOXES}, "inputs.question: has"),
        ({}, {"word_boxes": BOXES, "doc_stride": 500}, "parameters.doc_stride: is 500; beside this question a window"),
        ({}, {"word_boxes": BOXES, "max_seq_len": 5}, "inputs.question: has"),
        (
            {"question": "a"},
            {"word_boxes": BOXES * 300, "max_seq_len": 24, "doc_stride": 14},
            "at most 256 are allowed; send fewer words, or a smaller doc_stride",
        ),
        ({}, {"word_boxes": BOXES, "lang": "en"}, "parameters.lang: unknown parameter"),
        ({}, {"word_boxes": BOXES, "top_k": 0}, "parameters.top_k: Expected int >= 1"),
    ],
)
def test_bad_input_is_named(
    reader: tuple[Path, Loaded, str], inputs: dict[str, Any], parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(reader[1], page() | inputs, **parameters)
    assert words in caught.value.message


def test_an_image_is_needed_by_the_model_that_looks_alone(reader: tuple[Path, Loaded, str]) -> None:
    _, loaded, kind = reader
    if kind == "layoutlm":
        assert ask(loaded, {"question": QUESTION}, word_boxes=BOXES)
        return
    with pytest.raises(InvalidInput, match=r"inputs\.image: is missing"):
        ask(loaded, {"question": QUESTION}, word_boxes=BOXES)


def test_donut_writes_what_generate_writes(donut: tuple[Path, Loaded]) -> None:
    folder, loaded = donut
    model = transformers.VisionEncoderDecoderModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(Image.open(io.BytesIO(PAGE)), return_tensors="pt")
    prompt = tokenizer(
        f"<s_docvqa><s_question>{QUESTION}</s_question><s_answer>", add_special_tokens=False, return_tensors="pt"
    )["input_ids"]
    expected = model.generate(**pixels, decoder_input_ids=prompt, max_new_tokens=10)[0].tolist()
    adapter: Any = loaded.adapters["document-question-answering"]
    call = adapter.parse(page(), adapter.parameters(max_new_tokens=10))
    assert run_batch(adapter.preprocess(call)) == [expected]
    # Random weights close no answer; the pipeline finds the same in what they would have written.
    closed = tokenizer.encode("paris </s_answer>", add_special_tokens=False)
    pipeline = transformers.pipeline("document-question-answering", model=str(folder), tokenizer=tokenizer)
    for ids in (expected, prompt[0].tolist() + closed):
        answer = pipeline.postprocess_encoder_decoder_single({"sequences": torch.tensor([ids])})
        assert adapter.postprocess(call, [ids]) == [answer]
    assert adapter.postprocess(call, [prompt[0].tolist() + closed]) == [{"answer": "paris"}]


def test_donut_answers_questions_and_reads_pages_on_one_route(donut: tuple[Path, Loaded]) -> None:
    _, loaded = donut
    assert loaded.task == "document-question-answering"
    assert loaded.adapters["document-question-answering"].accepts(page(), {})
    assert not loaded.adapters["image-to-text"].accepts(page(), {})
    assert loaded.adapters["image-to-text"].accepts(PAGE, {})
    assert not loaded.adapters["document-question-answering"].accepts(PAGE, {})
    assert ask(loaded, [page(), page()], generate_kwargs={"max_new_tokens": 3}) == [[{"answer": None}]] * 2


def test_a_donut_of_another_task_says_which(tmp_path: Path) -> None:
    folder = multimodal.donut(tmp_path / "model", questions=False)
    with pytest.raises(ModelFault, match=r"its vocabulary lacks <s_docvqa>\. Set task to image-to-text"):
        load(folder)
    assert load(folder, "image-to-text").task == "image-to-text"


def test_layoutlmv2_says_what_it_lacks(tmp_path: Path) -> None:
    folder = multimodal.layoutlm(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "layoutlmv2", "architectures": ["LayoutLMv2ForQuestionAnswering"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFault, match="needs detectron2; that is not in this image"):
        load(folder)
