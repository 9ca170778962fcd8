"""text-to-image: diffusers' pipelines, a U-Net and a diffusion transformer."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slipway_runtime.artifacts.selection import select
from slipway_runtime.artifacts.weights import CorruptWeights
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks import detect
from slipway_runtime.tasks.adapter import Limits, Loaded, Media
from slipway_runtime.tasks.multimodal import diffusion
from slipway_runtime.tasks.parameters import convert

from tests.support.asking import ask, load
from tests.support.tiny import diffusion as makers

# diffusers' schedulers hand tensors to numpy 2 in a way that torch is yet to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
MAKERS: dict[str, Callable[[Path], Path]] = {
    "StableDiffusionPipeline": makers.text_to_image,
    "PixArtAlphaPipeline": makers.diffusion_transformer,
}


@pytest.fixture(scope="module", params=MAKERS)
def drawing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded, str]:
    folder = MAKERS[request.param](tmp_path_factory.mktemp("model") / "model")
    return folder, load(folder), request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makers.text_to_image(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def painter(folder: Path) -> Loaded:
    return load(folder)


def pixels(media: Media) -> np.ndarray[Any, Any]:
    assert media.type == "image/png"
    return np.asarray(Image.open(io.BytesIO(media.content)), dtype=np.int16)


def test_an_image_is_what_the_pipeline_itself_draws(drawing: tuple[Path, Loaded, str]) -> None:
    import diffusers

    folder, loaded, kind = drawing
    pipeline = getattr(diffusers, kind).from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    own = {} if kind.startswith("Stable") else {"use_resolution_binning": False, "clean_caption": False}
    expected = pipeline(
        "a red house by the river",
        negative_prompt="rain",
        num_inference_steps=3,
        guidance_scale=4.0,
        height=64,
        width=96,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
        **own,
    ).images[0]
    found = pixels(
        ask(
            loaded,
            "a red house by the river",
            negative_prompt="rain",
            num_inference_steps=3,
            guidance_scale=4.0,
            height=64,
            width=96,
            seed=7,
        )
    )
    assert found.shape == (64, 96, 3)
    assert found.std() > 1
    np.testing.assert_allclose(found / 255, expected, atol=0.51 / 255 + 1e-4)


def test_prompts_drawn_together_are_as_drawn_alone(drawing: tuple[Path, Loaded, str]) -> None:
    _, loaded, _ = drawing
    adapter = loaded.adapters["text-to-image"]

    def items(prompt: str, seed: int) -> list[Any]:
        parameters = convert({"seed": seed, "num_inference_steps": 2, "height": 64, "width": 64}, adapter.parameters)
        return adapter.preprocess(adapter.parse(prompt, parameters))

    asked = [("a film", 1), ("the quick red dog of paris in the rain", 2)]
    together = [item for prompt, seed in asked for item in items(prompt, seed)]
    assert together[0].forward == together[1].forward
    outputs = run_batch(together)
    for (prompt, seed), (image, _) in zip(asked, outputs, strict=True):
        alone = run_batch(items(prompt, seed))[0][0]
        assert np.abs(np.asarray(image, dtype=np.int16) - np.asarray(alone, dtype=np.int16)).max() <= 1


def test_a_seed_gives_one_image_and_none_gives_others(painter: Loaded) -> None:
    def draw(**parameters: Any) -> bytes:
        media = ask(painter, "a film", num_inference_steps=2, **parameters)
        assert isinstance(media, Media)
        return media.content

    assert draw(seed=3) == draw(seed=3)
    assert draw(seed=3) != draw(seed=4)
    assert draw() != draw()


def test_settings_that_differ_are_not_drawn_together(painter: Loaded) -> None:
    adapter = painter.adapters["text-to-image"]

    def forward(**parameters: Any) -> Any:
        return adapter.preprocess(adapter.parse("a film", convert(parameters, adapter.parameters)))[0].forward

    assert forward(seed=1) == forward(seed=2)
    for other in ({"height": 64}, {"num_inference_steps": 3}, {"guidance_scale": 1.0}, {"negative_prompt": "rain"}):
        assert forward(**other) != forward()


@pytest.mark.parametrize("name", diffusion.SCHEDULERS)
def test_every_scheduler_draws_or_is_refused_by_name(painter: Loaded, name: str) -> None:
    try:
        assert pixels(ask(painter, "a film", scheduler=name, num_inference_steps=3, seed=0)).shape == (128, 128, 3)
    except InvalidInput as error:
        assert name in ("FlowMatchEulerDiscreteScheduler", "LCMScheduler")
        assert f"{name!r} does not fit this model; it takes DDIMScheduler, DDPMScheduler," in error.message


def test_a_drawing_whose_caller_has_gone_stops(painter: Loaded) -> None:
    adapter = painter.adapters["text-to-image"]
    call = adapter.parse("a film", convert({"num_inference_steps": 150}, adapter.parameters))
    item = adapter.preprocess(call)[0]
    item.listener.gone = True
    assert run_batch([item]) == [None]
    stays = adapter.preprocess(adapter.parse("a film", convert({"num_inference_steps": 2}, adapter.parameters)))[0]
    goes = replace(stays, listener=item.listener)
    assert run_batch([stays, goes])[0] is not None


def test_the_first_forward_is_an_ordinary_drawing(drawing: tuple[Path, Loaded, str]) -> None:
    _, loaded, _ = drawing
    item = loaded.adapters["text-to-image"].warmup()[0]
    assert item.length == 128 * 128 // 256
    assert run_batch([item])[0][0].size == (128, 128)


@pytest.mark.parametrize(
    ("inputs", "parameters", "words"),
    [
        (["a"], {}, "inputs: must be a string: one prompt"),
        ("", {}, "inputs: is empty"),
        (7, {}, "inputs: must be a string"),
        ("rain " * 23, {}, "inputs: has 25 tokens, the model takes 24; shorten it, or set truncate to true"),
        ("a", {"negative_prompt": "rain " * 23}, "parameters.negative_prompt: has 25 tokens"),
        ("a", {"height": 100}, "parameters.height: must be a multiple of 8; got 100"),
        ("a", {"width": 0}, "parameters.width: Expected `int` >= 8"),
        ("a", {"height": 4096, "width": 4096}, "4096 x 4096 are 16777216 pixels, at most 4194304 are drawn"),
        ("a", {"num_inference_steps": 151}, "parameters.num_inference_steps: Expected `int` <= 150"),
        ("a", {"seed": -1}, "parameters.seed: Expected `int` >= 0"),
        ("a", {"scheduler": "os.system"}, "parameters.scheduler: 'os.system' does not fit this model"),
        ("a", {"num_images_per_prompt": 2}, "parameters.num_images_per_prompt"),
        ("a", {"custom_pipeline": "x"}, "parameters.custom_pipeline: unknown parameter; this task takes"),
    ],
)
def test_bad_input_is_named(painter: Loaded, inputs: Any, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(painter, inputs, **parameters)
    assert words.replace("`", "") in caught.value.message


def test_a_long_prompt_is_cut_where_that_is_asked_for(painter: Loaded) -> None:
    cut = ask(painter, "rain " * 40, truncate=True, seed=0, num_inference_steps=2)
    assert cut.content == ask(painter, "rain " * 22, seed=0, num_inference_steps=2).content


def test_the_limit_on_pixels_is_the_lower_of_the_two(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="256 x 128 are 32768 pixels, at most 20000 are drawn"):
        ask(load(folder, limits=Limits(max_image_pixels=20_000)), "a", width=256)


def test_an_image_that_the_models_safety_checker_withholds_is_said(tmp_path: Path) -> None:
    loaded = load(makers.text_to_image(tmp_path / "model", safety_checker=True))
    with pytest.raises(InvalidInput, match="safety checker withheld the image"):
        ask(loaded, "a film", num_inference_steps=2)


def test_of_two_encoders_one_has_to_read_the_whole_prompt(tmp_path: Path) -> None:
    loaded = load(makers.flux(tmp_path / "model"))
    small: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": 1, "seed": 0}
    assert pixels(ask(loaded, "rain " * 100, **small)).shape == (64, 64, 3)
    with pytest.raises(InvalidInput, match="inputs: has 602 tokens, the model takes 512"):
        ask(loaded, "rain " * 600, **small)
    with pytest.raises(InvalidInput, match=r"parameters\.negative_prompt: this model takes no negative prompt"):
        ask(loaded, "rain", negative_prompt="sun", **small)
    with pytest.raises(InvalidInput, match=r"parameters\.height: must be a multiple of 16; got 72"):
        ask(loaded, "rain", **(small | {"height": 72}))


def edited(folder: Path, **changes: Any) -> Path:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"unet": ["my_unet", "MyUNet"]}, "UnsafeFormat", "(unet: ['my_unet', 'MyUNet'] in model_index.json)"),
        ({"unet": ["diffusers", "os.system"]}, "UnsafeFormat", "code of its own"),
        ({"unet": ["diffusers"]}, "UnsafeFormat", "code of its own"),
        ({"_class_name": ["pipeline", "My"]}, "UnsafeFormat", "(_class_name ['pipeline', 'My'] in model_index.json)"),
        ({"custom_pipelines": {"x": {}}}, "UnsafeFormat", "custom_pipelines in model_index.json"),
        ({"prior": ["transformers", "CLIPTextModel"]}, "TaskNotSupported", "has the component 'prior'"),
        ({"unet": ["transformers", "Trainer"]}, "TaskNotSupported", "its unet is a Trainer"),
        ({"unet": ["diffusers", "VaeImageProcessor"]}, "TaskNotSupported", "its unet is a VaeImageProcessor"),
        (
            {"_class_name": "StableVideoDiffusionPipeline"},
            "TaskNotSupported",
            "(StableVideoDiffusionPipeline): no task",
        ),
        ({"_class_name": "FluxPipeline"}, "ModelCorrupt", "do not make a FluxPipeline"),
        ({"tokenizer": ["transformers", "CLIPTextModel"]}, "ModelCorrupt", "its tokenizer cannot be loaded as"),
    ],
)
def test_parts_that_are_not_of_the_two_libraries_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str, words: str
) -> None:
    folder = edited(makers.text_to_image(tmp_path / "model"), **changes)
    (folder / "unet/my_unet.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n")
    with pytest.raises(ModelFault) as caught:
        load(folder)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert not (tmp_path / "canary").exists()


def test_weights_that_a_component_lacks_are_said(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = makers.text_to_image(tmp_path / "model")
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelFault, match=r"its unet lack 1 weights of UNet2DConditionModel, first conv_in.weight"):
        load(folder)


def test_a_component_that_is_cut_short_is_said(tmp_path: Path) -> None:
    folder = makers.text_to_image(tmp_path / "model")
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptWeights, match=r"vae/diffusion_pytorch_model.safetensors of .* is truncated or damaged"):
        load(folder)


def test_a_shard_that_a_component_lacks_is_said(tmp_path: Path) -> None:
    folder = makers.text_to_image(tmp_path / "model")
    name = "unet/diffusion_pytorch_model"
    (folder / f"{name}.safetensors").rename(folder / f"{name}-00001-of-00002.safetensors")
    shards = {
        "a": "diffusion_pytorch_model-00001-of-00002.safetensors",
        "b": "diffusion_pytorch_model-00002-of-00002.safetensors",
    }
    (folder / f"{name}.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(CorruptWeights, match=r"index\.json names diffusion_pytorch_model-00002-of-00002.safetensors"):
        load(folder)


def test_of_a_repository_only_components_in_safetensors_are_chosen() -> None:
    wanted = [
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "tokenizer/merges.txt",
        "text_encoder/model.safetensors", "tokenizer_2/spiece.model", "transformer/config.json",
        "transformer/diffusion_pytorch_model-00001-of-00001.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json", "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    rubbish = [
        "README.md", "v1-5.safetensors", "unet/unet.py", "text_encoder/pytorch_model.bin", "controlnet/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.bin", "text_encoder/model.onnx",
    ]  # fmt: skip
    found = select([*wanted, *rubbish], "m")
    assert set(found.descriptions + found.weights) == set(wanted)


def test_a_component_that_is_only_pickle_is_refused() -> None:
    names = ["model_index.json", "vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"]
    with pytest.raises(ModelFault, match=r"components only as pickle \(unet/diffusion_pytorch_model.bin\)"):
        select(names, "m")
    with pytest.raises(ModelFault, match="has no safetensors"):
        select(["model_index.json", "unet/config.json"], "m")


def test_the_pipelines_that_are_served_are_those_that_diffusers_draws_with() -> None:
    with warnings.catch_warnings(action="ignore"):  # of pipelines that are not served
        from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    assert {kind.__name__ for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()} >= detect._TEXT_TO_IMAGE


def test_without_diffusers_the_missing_extra_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "diffusers", None)
    with pytest.raises(ModelFault, match="built without the extra diffusers") as caught:
        load(folder)
    assert caught.value.reason == "TaskNotSupported"
