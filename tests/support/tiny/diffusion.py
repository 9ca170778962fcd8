"""Pipelines of diffusers, which draw."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tests.support.models import tokenizer


def text_to_image(folder: Path, *, safety_checker: bool = False, **unet: Any) -> Path:
    """StableDiffusionPipeline: 128 x 128 pixels, prompts of 24 tokens. `safety_checker`: one that blanks everything."""
    import torch

    diffusers, transformers = _libraries()
    torch.manual_seed(0)
    tok = tokenizer(model_max_length=24)
    text = transformers.CLIPTextConfig(
        vocab_size=len(tok),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=24,
        bos_token_id=tok.cls_token_id,
        eos_token_id=tok.sep_token_id,
        pad_token_id=tok.pad_token_id,
        initializer_factor=5.0,  # so that prompts make a difference
    )
    sizes: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }
    diffusers.StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=tok,
        unet=diffusers.UNet2DConditionModel(**(sizes | unet)),
        scheduler=diffusers.PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=_checker() if safety_checker else None,
        feature_extractor=transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
        if safety_checker
        else None,
        requires_safety_checker=safety_checker,
    ).save_pretrained(folder)
    return folder


def diffusion_transformer(folder: Path) -> Path:
    """PixArtAlphaPipeline: a transformer that denoises, T5 that reads."""
    import torch

    diffusers, transformers = _libraries()
    torch.manual_seed(0)
    tok = tokenizer(model_max_length=24)
    text = transformers.T5Config(
        vocab_size=len(tok), d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=2, pad_token_id=0
    )
    denoiser = diffusers.PixArtTransformer2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        use_additional_conditions=False,
    )
    diffusers.PixArtAlphaPipeline(
        vae=_vae(),
        text_encoder=transformers.T5EncoderModel(text),
        tokenizer=tok,
        transformer=denoiser,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    ).save_pretrained(folder)
    return folder


def flux(folder: Path) -> Path:
    """FluxPipeline: CLIP reads 24 tokens of a prompt, T5 all of it; a negative prompt does nothing."""
    import torch

    diffusers, transformers = _libraries()
    torch.manual_seed(0)
    tok = tokenizer(model_max_length=24)
    special = {"bos_token_id": tok.cls_token_id, "eos_token_id": tok.sep_token_id, "pad_token_id": tok.pad_token_id}
    clip = transformers.CLIPTextConfig(
        vocab_size=len(tok), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=24, **special,
    )  # fmt: skip
    t5 = transformers.T5Config(vocab_size=len(tok), d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=1)
    denoiser = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    vae = _vae()
    vae.register_to_config(shift_factor=0.06)
    diffusers.FluxPipeline(
        transformer=denoiser,
        vae=vae,
        text_encoder=transformers.CLIPTextModel(clip),
        text_encoder_2=transformers.T5EncoderModel(t5),
        tokenizer=tok,
        tokenizer_2=tok,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    ).save_pretrained(folder)
    return folder


def _libraries() -> tuple[Any, Any]:
    """diffusers and transformers, as untyped as diffusers is."""
    return importlib.import_module("diffusers"), importlib.import_module("transformers")


def _vae() -> Any:
    return _libraries()[0].AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )


def _checker() -> Any:
    import torch

    diffusers, transformers = _libraries()
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": 10}, vision_config={**tower, "image_size": 32}, projection_dim=16
    )
    checker = diffusers.pipelines.stable_diffusion.StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data = torch.full_like(checker.concept_embeds_weights, -2.0)
    return checker
