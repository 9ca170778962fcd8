"""image-to-text: BLIP, GIT, a ViT that GPT-2 speaks for, and Donut."""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from slipway_runtime.errors import InvalidInput
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Loaded

from tests.support.asking import ask, load
from tests.support.tiny import multimodal

transformers: Any = importlib.import_module("transformers")  # half typed

IMAGES = [multimodal.image_bytes(), multimodal.image_bytes(96, 48, seed=1), multimodal.image_bytes(20, 60, seed=2)]
MAKERS: dict[str, Callable[[Path], Path]] = {
    "blip": multimodal.blip,
    "git": multimodal.git,
    "vit-gpt2": multimodal.captioner,
    "donut": multimodal.donut,
}


@pytest.fixture(scope="module", params=MAKERS)
def captioner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = MAKERS[request.param](tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder, "image-to-text")


def test_a_caption_is_that_of_generate(captioner: tuple[Path, Loaded]) -> None:
    folder, loaded = captioner
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    for image in IMAGES:
        pixels = processor(Image.open(io.BytesIO(image)), return_tensors="pt")["pixel_values"]
        written = model.generate(pixel_values=pixels, max_new_tokens=10, min_new_tokens=6)[0]
        expected = tokenizer.decode(written, skip_special_tokens=True)
        found = ask(loaded, image, max_new_tokens=10, generate_kwargs={"min_new_tokens": 6})
        assert found == [{"generated_text": expected}]
        assert expected


def test_captions_written_together_are_as_written_alone(captioner: tuple[Path, Loaded]) -> None:
    _, loaded = captioner
    style = {"max_new_tokens": 10}
    images = [base64.b64encode(image).decode() for image in IMAGES]
    together = ask(loaded, images, generation_parameters=style)
    assert together == [ask(loaded, image, generation_parameters=style) for image in images]


def test_a_caption_ends_where_the_decoder_does(captioner: tuple[Path, Loaded]) -> None:
    assert ask(captioner[1], IMAGES[0])[0]["generated_text"]  # 256 by default, which these decoders cannot hold
    assert ask(captioner[1], IMAGES[0], max_new_tokens=4000)[0]["generated_text"]


def test_the_first_forward_is_an_ordinary_image(captioner: tuple[Path, Loaded]) -> None:
    for adapter in captioner[1].adapters.values():
        assert not isinstance(run_batch(adapter.warmup())[0], Exception)


@pytest.mark.parametrize(
    ("inputs", "parameters", "words"),
    [
        ("no image", {}, "inputs: is not valid base64"),
        (b"GIF8", {}, "inputs: is no image"),
        ("https://example.org/a.png", {}, "inputs: is a URL, which is not fetched here"),
        ([IMAGES[0], 7], {}, "inputs[1]: must be a file's bytes"),
        (IMAGES[0], {"max_new_tokens": 0}, "parameters.max_new_tokens: Expected `int` >= 1"),
        (IMAGES[0], {"max_new_tokens": 5000}, "parameters.max_new_tokens: is 5000, at most 4096 are allowed"),
        (IMAGES[0], {"prompt": "a"}, "parameters.prompt: unknown parameter; this task takes max_new_tokens,"),
        (IMAGES[0], {"generation_parameters": {"seed": 1}}, "seed"),
    ],
)
def test_bad_input_is_named(
    captioner: tuple[Path, Loaded], inputs: Any, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(captioner[1], inputs, **parameters)
    assert words.replace("`", "") in caught.value.message
