"""Models that see: classifiers, detectors, segmenters, depth, and those that compare images with texts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.models import bert_config, tokenizer

LABELS = ("cat", "dog", "house", "river", "sun", "rain", "film")


def picture(width: int = 80, height: int = 60, seed: int = 0) -> Image.Image:
    """Coloured noise in blocks: different for each seed, and different in each corner."""
    import numpy as np

    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BILINEAR)


def png(image: Image.Image) -> bytes:
    """As a caller sends it."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def names(labels: Sequence[str] = LABELS) -> dict[str, Any]:
    """The part of a config that names its classes."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def _save(folder: Path, model_class: str, config: Any, processor: Any, *, seed: int = 0) -> Path:
    import torch
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, model_class)(config).eval()
    _spread(model, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _spread(model: Any, seed: int) -> None:
    """Weights of fresh models are so small that every image, query and text gives the same answer: larger ones."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                if name == "bias" or weight.ndim < 2:
                    continue
                layer = isinstance(module, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d))
                scale = 1.4 / weight[0].numel() ** 0.5 if layer else 1.0
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)


_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}


def vit(folder: Path, *, labels: Sequence[str] = LABELS, **config: Any) -> Path:
    """ViTForImageClassification: 32 x 32 pixels."""
    from transformers import ViTConfig, ViTImageProcessor

    return _save(
        folder,
        "ViTForImageClassification",
        ViTConfig(**(_VIT | names(labels) | config)),
        ViTImageProcessor(size={"height": 32, "width": 32}),
    )


def resnet(folder: Path, **config: Any) -> Path:
    """ResNetForImageClassification: the shorter side scaled to 36, 32 x 32 cut out of its middle."""
    from transformers import ConvNextImageProcessor, ResNetConfig

    return _save(
        folder,
        "ResNetForImageClassification",
        ResNetConfig(**(_RESNET | {"out_features": None} | names() | config)),
        ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.9),
    )


_RESNET: dict[str, Any] = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage4"],
}


def detr(folder: Path, **config: Any) -> Path:
    """DetrForObjectDetection over a ResNet: images keep their shape, sides of 48 to 64 pixels."""
    return _save(folder, "DetrForObjectDetection", _detr_config(**config), _detr_processor())


def detr_segmentation(folder: Path, **config: Any) -> Path:
    """DetrForSegmentation."""
    return _save(folder, "DetrForSegmentation", _detr_config(**config), _detr_processor())


def _detr_config(**changes: Any) -> Any:
    from transformers import DetrConfig

    sizes: dict[str, Any] = {
        "backbone_config": _RESNET | {"out_features": ["stage1", "stage2", "stage3", "stage4"]},
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "num_queries": 12,
    }
    return DetrConfig(**(sizes | names() | changes))


def _detr_processor() -> Any:
    from transformers import DetrImageProcessor

    return DetrImageProcessor(size={"shortest_edge": 48, "longest_edge": 64})


def yolos(folder: Path, **config: Any) -> Path:
    """YolosForObjectDetection: images keep their shape."""
    from transformers import YolosConfig, YolosImageProcessor

    return _save(
        folder,
        "YolosForObjectDetection",
        YolosConfig(**(_VIT | {"image_size": [48, 64], "num_detection_tokens": 10} | names() | config)),
        YolosImageProcessor(size={"shortest_edge": 48, "longest_edge": 64}),
    )


def rt_detr(folder: Path, **config: Any) -> Path:
    """RTDetrForObjectDetection: 64 x 64 pixels, sigmoid instead of softmax."""
    from transformers import RTDetrConfig, RTDetrImageProcessor

    sizes: dict[str, Any] = {
        "backbone_config": {
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_features": ["stage2", "stage3", "stage4"],
        },
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [8, 16, 16],
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "d_model": 32,
        "decoder_in_channels": [32, 32, 32],
        "decoder_ffn_dim": 32,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "num_queries": 12,
    }
    return _save(
        folder,
        "RTDetrForObjectDetection",
        RTDetrConfig(**(sizes | names() | config)),
        RTDetrImageProcessor(size={"height": 64, "width": 64}),
    )


def segformer(folder: Path, **config: Any) -> Path:
    """SegformerForSemanticSegmentation: 64 x 64 pixels."""
    from transformers import SegformerConfig, SegformerImageProcessor

    sizes: dict[str, Any] = {
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
    }
    return _save(
        folder,
        "SegformerForSemanticSegmentation",
        SegformerConfig(**(sizes | names() | config)),
        SegformerImageProcessor(size={"height": 64, "width": 64}),
    )


_SWIN: dict[str, Any] = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


def mask2former(folder: Path, **config: Any) -> Path:
    """Mask2FormerForUniversalSegmentation over a Swin: sides of 64 pixels."""
    from transformers import Mask2FormerConfig, Mask2FormerImageProcessor

    sizes: dict[str, Any] = {
        "backbone_config": _SWIN,
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "num_attention_heads": 2,
        "dim_feedforward": 32,
        "num_queries": 10,
    }
    return _save(
        folder,
        "Mask2FormerForUniversalSegmentation",
        Mask2FormerConfig(**(sizes | names() | config)),
        Mask2FormerImageProcessor(size={"height": 64, "width": 64}, num_labels=len(LABELS)),
    )


def maskformer(folder: Path, **config: Any) -> Path:
    """MaskFormerForInstanceSegmentation over a Swin."""
    from transformers import MaskFormerConfig, MaskFormerImageProcessor

    sizes: dict[str, Any] = {
        "backbone_config": _SWIN,
        "decoder_config": _detr_config(num_queries=10).to_dict(),
        "fpn_feature_size": 32,
        "mask_feature_size": 32,
    }
    return _save(
        folder,
        "MaskFormerForInstanceSegmentation",
        MaskFormerConfig(**(sizes | names() | config)),
        MaskFormerImageProcessor(size={"height": 64, "width": 64}, num_labels=len(LABELS)),
    )


def dpt(folder: Path, **config: Any) -> Path:
    """DPTForDepthEstimation: 32 x 32 pixels."""
    from transformers import DPTConfig, DPTImageProcessor

    sizes: dict[str, Any] = {
        "backbone_out_indices": [0, 1, 2, 3],
        "num_hidden_layers": 4,
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 8,
    }
    return _save(
        folder,
        "DPTForDepthEstimation",
        DPTConfig(**(_VIT | sizes | config)),
        DPTImageProcessor(size={"height": 32, "width": 32}),
        seed=1,  # the depth is cut off below 0: with others it is 0 everywhere
    )


def depth_anything(folder: Path, **config: Any) -> Path:
    """DepthAnythingForDepthEstimation over a DINOv2: images keep their shape, sides are multiples of 14."""
    from transformers import DepthAnythingConfig, Dinov2Config, DPTImageProcessor

    backbone_sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 42,
        "out_indices": [1, 2, 3, 4],
        "reshape_hidden_states": False,
    }
    sizes: dict[str, Any] = {
        "backbone_config": Dinov2Config(**backbone_sizes),
        "reassemble_hidden_size": 32,
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 8,
        "head_hidden_size": 8,
    }
    return _save(
        folder,
        "DepthAnythingForDepthEstimation",
        DepthAnythingConfig(**(sizes | config)),
        DPTImageProcessor(size={"height": 42, "width": 42}, keep_aspect_ratio=True, ensure_multiple_of=14),
    )


def clip(folder: Path, **config: Any) -> Path:
    """CLIPModel: 32 x 32 pixels, texts of 24 tokens."""
    from transformers import CLIPConfig, CLIPImageProcessor

    tok = _text(folder, ["input_ids", "attention_mask"], 24)
    return _save(
        folder,
        "CLIPModel",
        CLIPConfig(text_config=_text_config(tok), vision_config=_VIT, projection_dim=16, **config),
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    )


def siglip(folder: Path, **config: Any) -> Path:
    """SiglipModel: 32 x 32 pixels, texts always of 64 tokens."""
    from transformers import SiglipConfig, SiglipImageProcessor

    tok = _text(folder, ["input_ids"], 64)
    return _save(
        folder,
        "SiglipModel",
        SiglipConfig(text_config=_text_config(tok), vision_config=_VIT, **config),
        SiglipImageProcessor(size={"height": 32, "width": 32}),
    )


def owlvit(folder: Path, **config: Any) -> Path:
    """OwlViTForObjectDetection: 32 x 32 pixels, labels of 16 tokens."""
    from transformers import OwlViTConfig, OwlViTImageProcessor

    tok = _text(folder, ["input_ids", "attention_mask"], 16)
    return _save(
        folder,
        "OwlViTForObjectDetection",
        OwlViTConfig(text_config=_text_config(tok), vision_config=_VIT, projection_dim=32, **config),
        OwlViTImageProcessor(size={"height": 32, "width": 32}),
    )


def owlv2(folder: Path, **config: Any) -> Path:
    """Owlv2ForObjectDetection: padded to a square, 32 x 32 pixels."""
    from transformers import Owlv2Config, Owlv2ImageProcessor

    tok = _text(folder, ["input_ids", "attention_mask"], 16)
    return _save(
        folder,
        "Owlv2ForObjectDetection",
        Owlv2Config(text_config=_text_config(tok), vision_config=_VIT, projection_dim=32, **config),
        Owlv2ImageProcessor(size={"height": 32, "width": 32}),
    )


def _text(folder: Path, inputs: list[str], limit: int) -> Any:
    tok = tokenizer(model_max_length=limit)
    tok.model_input_names = inputs
    tok.save_pretrained(folder)
    return tok


def _text_config(tok: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tok),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": tok.model_max_length,
        "projection_dim": 16,
        "projection_size": 32,
        "pad_token_id": tok.pad_token_id,
        "bos_token_id": tok.cls_token_id,
        "eos_token_id": tok.sep_token_id,
    }


_SAM_PROMPTS: dict[str, Any] = {"hidden_size": 32, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
_SAM_MASKS: dict[str, Any] = {
    "hidden_size": 32,
    "mlp_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "iou_head_hidden_dim": 32,
}
_SAM_SEES: dict[str, Any] = {
    "hidden_size": 32,
    "output_channels": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "window_size": 4,
    "global_attn_indexes": [1],
    "num_pos_feats": 16,
    "mlp_dim": 32,
}


def sam(folder: Path, **config: Any) -> Path:
    """SamModel: the longer side scaled to 64 pixels."""
    from transformers import SamConfig, SamImageProcessor

    parts = {"vision_config": _SAM_SEES, "prompt_encoder_config": _SAM_PROMPTS, "mask_decoder_config": _SAM_MASKS}
    processor = SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return _save(folder, "SamModel", SamConfig(**(parts | config)), processor)


def sam_hq(folder: Path, **config: Any) -> Path:
    """SamHQModel: the same with a further token for finer masks."""
    from transformers import SamHQConfig, SamImageProcessor

    parts = {
        "vision_config": _SAM_SEES,
        "prompt_encoder_config": _SAM_PROMPTS,
        "mask_decoder_config": _SAM_MASKS | {"vit_dim": 32},
    }
    processor = SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return _save(folder, "SamHQModel", SamHQConfig(**(parts | config)), processor)


def sam2(folder: Path, **config: Any) -> Path:
    """Sam2Model over a Hiera: 64 x 64 pixels."""
    from transformers import Sam2Config, Sam2ImageProcessor

    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 4],
        "window_positional_embedding_background_size": [4, 4],
        "global_attention_blocks": [3],
    }
    sees = {
        "backbone_config": hiera,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    parts = {
        "vision_config": sees,
        "prompt_encoder_config": _SAM_PROMPTS | {"patch_size": 16},
        "mask_decoder_config": _SAM_MASKS,
    }
    processor = Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16})
    return _save(folder, "Sam2Model", Sam2Config(**(parts | config)), processor)


def grounding_dino(folder: Path, **config: Any) -> Path:
    """GroundingDinoForObjectDetection over a Swin and a BERT: images keep their shape."""
    from transformers import GroundingDinoConfig, GroundingDinoImageProcessor

    tok = _text(folder, ["input_ids", "token_type_ids", "attention_mask"], 32)
    sizes: dict[str, Any] = {
        "backbone_config": _SWIN | {"out_features": ["stage2", "stage3", "stage4"]},
        "text_config": bert_config(len(tok), max_position_embeddings=32, pad_token_id=tok.pad_token_id).to_dict(),
        "num_queries": 12,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "max_text_len": 32,
    }
    return _save(
        folder,
        "GroundingDinoForObjectDetection",
        GroundingDinoConfig(**(sizes | config)),
        GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 128}),
    )
