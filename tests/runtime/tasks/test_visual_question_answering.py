"""visual-question-answering: ViLT chooses an answer, BLIP writes one."""

from __future__ import annotations

import base64
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.parameters import convert

from tests.support.asking import ask, load
from tests.support.tiny import multimodal

transformers: Any = importlib.import_module("transformers")  # half typed

IMAGE = multimodal.image_bytes()
WIDE = multimodal.image_bytes(96, 48, seed=1)
QUESTIONS = ["is it a dog ?", "what city is the red house of the film in ?", "the sun ?"]


@pytest.fixture(scope="module")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = multimodal.vilt(tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = multimodal.blip_answering(tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder)


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def direct(folder: Path, image: bytes, question: str) -> dict[str, Any]:
    made = dict(transformers.AutoTokenizer.from_pretrained(folder)(question, return_tensors="pt"))
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(Image.open(io.BytesIO(image)), return_tensors="pt")
    return made | dict(pixels)


def test_scores_are_those_of_the_direct_forward(chooser: tuple[Path, Loaded]) -> None:
    folder, loaded = chooser
    model = transformers.ViltForQuestionAnswering.from_pretrained(folder)
    for image in (IMAGE, WIDE):
        with torch.inference_mode():
            logits = model(**direct(folder, image, QUESTIONS[1])).logits[0]
        expected = dict(zip(model.config.id2label.values(), torch.sigmoid(logits).tolist(), strict=True))
        answers = ask(loaded, {"image": encoded(image), "question": QUESTIONS[1]})
        assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
        assert {a["answer"] for a in answers} == set(expected)
        np.testing.assert_allclose([a["score"] for a in answers], [expected[a["answer"]] for a in answers], atol=1e-4)


def test_questions_asked_together_are_answered_as_alone(chooser: tuple[Path, Loaded]) -> None:
    _, loaded = chooser
    asked = [{"image": encoded(image), "question": q} for image in (IMAGE, WIDE) for q in QUESTIONS]
    for together, one in zip(ask(loaded, asked), asked, strict=True):
        alone = ask(loaded, one)
        assert [a["answer"] for a in together] == [a["answer"] for a in alone]
        np.testing.assert_allclose([a["score"] for a in together], [a["score"] for a in alone], atol=1e-4)


def test_top_k_and_the_question_beside_the_image(chooser: tuple[Path, Loaded]) -> None:
    _, loaded = chooser
    answers = ask(loaded, {"image": encoded(IMAGE), "question": QUESTIONS[0]})
    assert len(answers) == 5
    for beside, k in ((IMAGE, 2), (encoded(IMAGE), 99)):
        found = ask(loaded, beside, question=QUESTIONS[0], top_k=k)
        assert [a["answer"] for a in found] == [a["answer"] for a in answers[:k]]


def test_a_written_answer_is_that_of_generate(writer: tuple[Path, Loaded]) -> None:
    folder, loaded = writer
    model = transformers.BlipForQuestionAnswering.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for question in QUESTIONS:
        inputs = direct(folder, IMAGE, question)
        inputs.pop("token_type_ids")
        written = model.generate(**inputs, max_new_tokens=12, min_new_tokens=8)[0]
        expected = tokenizer.decode(written, skip_special_tokens=True).strip()
        found = ask(
            loaded,
            {"image": encoded(IMAGE), "question": question},
            max_new_tokens=12,
            generate_kwargs={"min_new_tokens": 8},
        )
        assert found == [{"answer": expected}]
        assert expected


def test_answers_written_together_are_as_written_alone(writer: tuple[Path, Loaded]) -> None:
    _, loaded = writer
    style = {"min_new_tokens": 8, "max_new_tokens": 12}
    asked = [{"image": encoded(image), "question": q} for image in (IMAGE, WIDE) for q in QUESTIONS]
    assert ask(loaded, asked, generate_kwargs=style) == [ask(loaded, one, generate_kwargs=style) for one in asked]


def test_an_answer_that_nobody_waits_for_ends_early(writer: tuple[Path, Loaded]) -> None:
    _, loaded = writer
    adapter = loaded.adapters[loaded.task]
    parameters = convert({"generate_kwargs": {"min_new_tokens": 20, "max_new_tokens": 20}}, adapter.parameters)
    item = adapter.preprocess(adapter.parse({"image": IMAGE, "question": "what ?"}, parameters))[0]
    assert len(run_batch([item])[0]) == 21
    item.listener.gone = True
    assert len(run_batch([item])[0]) == 2


def test_the_first_forward_is_an_ordinary_question(chooser: tuple[Path, Loaded], writer: tuple[Path, Loaded]) -> None:
    for _, loaded in (chooser, writer):
        item = loaded.adapters[loaded.task].warmup()[0]
        assert item.length > 4
        assert not isinstance(run_batch([item])[0], Exception)


@pytest.mark.parametrize(
    ("inputs", "parameters", "words"),
    [
        (IMAGE, {}, 'parameters.question: is missing; send it beside the image, or inputs as {"image": base64'),
        ({"question": "what ?"}, {}, "inputs.image: is missing"),
        ({"image": "QUJD", "question": "what ?"}, {}, "inputs.image: is no image"),
        ({"image": "http://localhost/a.png", "question": "a ?"}, {}, "inputs.image: is a URL, which is not fetched"),
        ({"image": "/etc/passwd", "question": "a ?"}, {}, "inputs.image: looks like a path, which is not opened"),
        (
            {"image": multimodal.image_bytes(2, 90), "question": "a ?"},
            {},
            "inputs.image: is 2 x 90 pixels, which this model's processor cannot scale",
        ),
        ({"image": IMAGE}, {}, "inputs.question: is missing"),
        ({"image": IMAGE, "question": " "}, {}, "inputs.question: must be a string that is not empty"),
        ({"image": IMAGE, "question": 7}, {}, "inputs.question: must be a string"),
        ({"image": IMAGE, "question": "a", "words": 1}, {}, "inputs.words: is unknown; send image, question"),
        ({"image": IMAGE, "question": "a"}, {"question": "b"}, "parameters.question: is given twice"),
        ({"image": IMAGE, "question": "rain " * 40}, {}, "inputs.question: has 42 tokens, the model takes 32"),
        (IMAGE, {"question": "rain " * 40}, "parameters.question: has 42 tokens, the model takes 32"),
        ([{"image": IMAGE, "question": "a"}, 3], {}, "inputs[1]: must be"),
        ([], {}, "inputs: is empty"),
        (7, {}, "inputs: must be"),
        ({"image": IMAGE, "question": "a"}, {"top_k": 0}, "parameters.top_k: Expected `int` >= 1"),
        ({"image": IMAGE, "question": "a"}, {"max_new_tokens": 3}, "parameters.max_new_tokens: unknown parameter"),
    ],
)
def test_bad_input_is_named(chooser: tuple[Path, Loaded], inputs: Any, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(chooser[1], inputs, **parameters)
    assert words.replace("`", "") in caught.value.message


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_new_tokens": 50}, "parameters.max_new_tokens: is 50, at most 40 are allowed"),
        ({"generate_kwargs": {"max_new_tokens": 50}}, "parameters.generate_kwargs.max_new_tokens: is 50, at most 40"),
        ({"max_new_tokens": 2, "generate_kwargs": {"max_new_tokens": 3}}, "given twice: also in parameters.generate_"),
        ({"generate_kwargs": {"num_beams": 99}}, "parameters.generate_kwargs.num_beams: Expected int <= 16"),
        ({"generate_kwargs": {"logits_processor": []}}, "logits_processor"),
        ({"generate_kwargs": {"temperature": 0}}, "parameters.generate_kwargs.temperature: Expected float > 0.0"),
    ],
)
def test_what_generate_may_be_asked_is_a_closed_list(
    writer: tuple[Path, Loaded], parameters: dict[str, Any], words: str
) -> None:
    loaded = load(writer[0], limits=Limits(max_new_tokens=40))
    with pytest.raises(InvalidInput) as caught:
        ask(loaded, {"image": IMAGE, "question": "a"}, **parameters)
    assert words in caught.value.message


def test_sampling_and_beams_are_done_by_generate(writer: tuple[Path, Loaded]) -> None:
    inputs = {"image": IMAGE, "question": "what ?"}
    sampled = [
        ask(writer[1], inputs, generate_kwargs={"do_sample": True, "temperature": 5.0, "min_new_tokens": 9})
        for _ in range(2)
    ]
    assert sampled[0] != sampled[1]
    assert ask(writer[1], inputs, generate_kwargs={"num_beams": 3, "min_new_tokens": 9})[0]["answer"]
