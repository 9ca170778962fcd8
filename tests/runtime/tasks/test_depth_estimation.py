"""depth-estimation against transformers' pipeline and the direct forward: DPT, Depth Anything."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Loaded
from transformers import AutoImageProcessor, AutoModelForDepthEstimation, pipeline

from tests.support.asking import ask, load
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

PICTURES = [picture(seed=1), picture(seed=2), picture(50, 90, seed=3)]


@pytest.fixture(scope="module", params=["dpt", "depth_anything"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = getattr(vision, request.param)(tmp_path_factory.mktemp(request.param))
    return folder, load(folder)


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_the_picture_is_the_pipelines(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    reference = pipeline("depth-estimation", model=str(folder))
    for image in PICTURES:
        depth = opened(ask(loaded, png(image))["depth"])
        assert (depth.format, depth.mode, depth.size) == ("PNG", "L", image.size)
        expected = np.asarray(reference(image)["depth"]).astype(int)
        assert np.abs(np.asarray(depth).astype(int) - expected).max() <= 1
        assert expected.max() == 255


def test_the_numbers_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    folder, loaded = model
    network = AutoModelForDepthEstimation.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    for image in PICTURES:
        with torch.inference_mode():
            expected = network(**processor(image, return_tensors="pt")).predicted_depth[0].numpy()
        np.testing.assert_allclose(ask(loaded, png(image))["predicted_depth"], expected, atol=1e-4, rtol=1e-4)


def test_a_batch_of_mixed_shapes_equals_one_by_one(model: tuple[Path, Loaded]) -> None:
    _, loaded = model
    together = ask(loaded, [png(image) for image in PICTURES])
    for image, answer in zip(PICTURES, together, strict=True):
        alone = ask(loaded, png(image))["predicted_depth"]
        np.testing.assert_allclose(answer["predicted_depth"], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_a_line_of_pixels_has_a_depth_of_its_size(model: tuple[Path, Loaded], size: tuple[int, int]) -> None:
    try:
        assert opened(ask(model[1], png(picture(*size)))["depth"]).size == size
    except InvalidInput as refused:  # Depth Anything keeps proportions: what is left of the short side may be nothing
        assert "cannot scale" in refused.message


def test_the_same_everywhere_is_black_not_an_error(model: tuple[Path, Loaded]) -> None:
    depth = np.asarray(opened(ask(model[1], png(Image.new("RGB", (40, 40), "white")))["depth"]))
    assert depth.shape == (40, 40)
