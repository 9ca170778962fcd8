"""Further architectures of the tasks that see, each against transformers' pipeline: one that needs a text otherwise, or
whose processor or output is of another kind."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers import pipeline

from tests.support.asking import ask, load
from tests.support.models import tokenizer
from tests.support.tiny import vision
from tests.support.tiny.vision import picture, png

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SEES: dict[str, Any] = SIZES | {"image_size": 32, "patch_size": 8}
SQUARE = {"height": 32, "width": 32}
PICTURES = [picture(seed=1), picture(50, 90, seed=2)]


def made(folder: Path, name: str, processor: str, config: dict[str, Any], **options: Any) -> Path:
    """`name` as in transformers' classes: a model with random weights and its image processor."""
    family = name.partition("For")[0].removesuffix("Model")
    made_config = getattr(transformers, f"{family}Config")(**config)
    made_processor = getattr(transformers, processor)(**options)
    return vision._save(folder, name, made_config, made_processor)


def reads(**changes: Any) -> dict[str, Any]:
    tok = tokenizer()
    own = {
        "vocab_size": len(tok),
        "max_position_embeddings": 32,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    return SIZES | own | changes


EFFICIENT = {
    "image_size": 32,
    "hidden_dim": 32,
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "in_channels": [32, 16],
    "out_channels": [16, 32],
    "kernel_sizes": [3, 3],
    "strides": [1, 2],
    "num_block_repeats": [1, 1],
    "expand_ratios": [1, 2],
}
COMPARE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "AlignModel": ("EfficientNetImageProcessor",
                   {"text_config": reads(), "vision_config": EFFICIENT, "projection_dim": 32},
                   {"size": SQUARE, "do_center_crop": False}),
    "AltCLIPModel": ("CLIPImageProcessor",
                     {"text_config": reads(max_position_embeddings=34, project_dim=16), "vision_config": SEES,
                      "projection_dim": 16},
                     {"size": {"shortest_edge": 32}, "crop_size": SQUARE}),
    "ChineseCLIPModel": ("ChineseCLIPImageProcessor",
                         {"text_config": reads(), "vision_config": SEES, "projection_dim": 16},
                         {"size": SQUARE, "do_center_crop": False}),
    "MetaClip2Model": ("CLIPImageProcessor",
                       {"text_config": reads(projection_dim=16), "vision_config": SEES, "projection_dim": 16},
                       {"size": {"shortest_edge": 32}, "crop_size": SQUARE}),
    "Siglip2Model": ("Siglip2ImageProcessor",
                     {"text_config": reads(max_position_embeddings=64, projection_size=32),
                      "vision_config": SIZES | {"patch_size": 8, "num_patches": 16}},
                     {"patch_size": 8, "max_num_patches": 16}),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARE)
def test_images_are_compared_with_texts_as_the_pipeline_does(tmp_path: Path, name: str) -> None:
    processor, config, options = COMPARE[name]
    folder = made(tmp_path, name, processor, config, **options)
    tok = tokenizer(model_max_length=64 if "Siglip" in name else 32)
    tok.model_input_names = ["input_ids"] if "Siglip" in name else ["input_ids", "attention_mask"]
    tok.save_pretrained(folder)
    loaded, reference = load(folder), pipeline("zero-shot-image-classification", model=str(folder))
    labels = ["cat", "the big red house", "rain"]
    together = ask(loaded, [png(image) for image in PICTURES], candidate_labels=labels)
    for image, answer in zip(PICTURES, together, strict=True):
        expected = reference(image, candidate_labels=labels)
        assert {e["label"]: e["score"] for e in answer} == pytest.approx(
            {e["label"]: e["score"] for e in expected}, abs=1e-4
        )


DETECTOR: dict[str, Any] = {
    "backbone_config": vision._RESNET | {"out_features": ["stage2", "stage3", "stage4"]},
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 12,
} | vision.names()
BEIT = SIZES | {"image_size": 32, "patch_size": 8, "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}
FITTING = {"size": {"shortest_edge": 96, "longest_edge": 128}}
FIND: dict[str, tuple[Any, str, dict[str, Any], dict[str, Any]]] = {
    "ConditionalDetrForObjectDetection": (
        "object-detection",
        "ConditionalDetrImageProcessor",
        DETECTOR | {"backbone_config": vision._RESNET},
        FITTING,
    ),
    "DeformableDetrForObjectDetection": (
        "object-detection",
        "DeformableDetrImageProcessor",
        DETECTOR | {"decoder_layers": 2},
        FITTING,
    ),
    "UperNetForSemanticSegmentation": (
        "image-segmentation",
        "SegformerImageProcessor",
        {
            "backbone_config": vision._RESNET | {"out_features": ["stage1", "stage2", "stage3", "stage4"]},
            "hidden_size": 16,
            "auxiliary_in_channels": 16,
            "auxiliary_channels": 16,
        }
        | vision.names(),
        {"size": {"height": 64, "width": 64}},
    ),
    "BeitForSemanticSegmentation": (
        "image-segmentation",
        "BeitImageProcessor",
        BEIT | {"out_indices": [0, 1, 2, 3]} | vision.names(),
        {"size": SQUARE, "do_center_crop": False},
    ),
    "DPTForSemanticSegmentation": (
        "image-segmentation",
        "DPTImageProcessor",
        SEES
        | {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 16, 16]}
        | {"fusion_hidden_size": 8}
        | vision.names(),
        {"size": SQUARE},
    ),
    "GLPNForDepthEstimation": (
        "depth-estimation",
        "GLPNImageProcessor",
        {
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1] * 4,
            "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 8,
        },
        {},
    ),
    "ZoeDepthForDepthEstimation": (
        "depth-estimation",
        "ZoeDepthImageProcessor",
        {
            "backbone_config": {"model_type": "beit", "reshape_hidden_states": False} | BEIT,
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 8,
            "bottleneck_features": 8,
            "num_attractors": [4, 2, 2, 1],
            "bin_embedding_dim": 8,
            "num_relative_features": 8,
            "bin_configurations": [{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        },
        {"size": {"height": 32, "width": 32}, "ensure_multiple_of": 8, "keep_aspect_ratio": False},
    ),
}


@pytest.mark.parametrize("name", FIND)
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")  # pipeline's own call of Pillow
def test_what_is_found_in_an_image_is_what_the_pipeline_finds(tmp_path: Path, name: str) -> None:
    task, processor, config, options = FIND[name]
    folder = made(tmp_path, name, processor, config, **options)
    loaded, reference = load(folder), pipeline(task, model=str(folder))
    parameters: dict[str, Any] = {"threshold": 0.1} if task == "object-detection" else {}
    together = ask(loaded, [png(image) for image in PICTURES], **parameters)
    for image, answer in zip(PICTURES, together, strict=True):
        expected = reference(image, **parameters)
        if task == "depth-estimation":
            depth, wanted = opened(answer["depth"]), np.asarray(expected["depth"]).astype(int)
            assert wanted.std() > 0
            assert np.abs(depth - wanted).max() <= 1
            continue
        expected = sorted(expected, key=lambda e: -(e["score"] or 0))
        assert len(expected) > 1
        assert [e["label"] for e in answer] == [e["label"] for e in expected]
        assert [e["score"] for e in answer] == pytest.approx([e["score"] or 1.0 for e in expected], abs=1e-4)
        for one, other in zip(answer, expected, strict=True):
            if task == "object-detection":
                assert one["box"] == pytest.approx(other["box"], abs=1)
            else:
                assert (opened(one["mask"]) != np.asarray(other["mask"])).mean() < 0.01


def opened(text: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(int)
