"""Models that join images and text: they read documents, caption, answer and chat."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

from tests.support.models import tokenizer


def image_bytes(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A PNG of coloured noise."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def vilt(folder: Path, **config: Any) -> Path:
    """ViltForQuestionAnswering with five answers."""
    transformers = _seeded()
    tok = tokenizer(model_max_length=32)
    answers = dict(enumerate(("paris", "london", "a dog", "a cat", "red")))
    sizes = _TOWER | {"vocab_size": len(tok), "max_position_embeddings": 32, "image_size": 64, "patch_size": 16}
    names = {"id2label": answers, "label2id": {answer: i for i, answer in answers.items()}}
    model = transformers.ViltForQuestionAnswering(transformers.ViltConfig(**(sizes | names | config)))
    processor = transformers.ViltImageProcessor(size={"shortest_edge": 64}, size_divisor=16)
    return _saved(folder, model, tok, processor)


def blip_answering(folder: Path) -> Path:
    """BlipForQuestionAnswering: it writes its answer."""
    return _blip(folder, "BlipForQuestionAnswering")


def blip(folder: Path) -> Path:
    """BlipForConditionalGeneration: it writes captions."""
    return _blip(folder, "BlipForConditionalGeneration")


def _blip(folder: Path, kind: str) -> Path:
    transformers = _seeded()
    tok = tokenizer(model_max_length=32)
    special = {"bos_token_id": tok.cls_token_id, "eos_token_id": tok.sep_token_id, "sep_token_id": tok.sep_token_id,
               "pad_token_id": tok.pad_token_id, "vocab_size": len(tok), "max_position_embeddings": 32}  # fmt: skip
    text = {**_TOWER, **special, "encoder_hidden_size": 32, "projection_dim": 16}
    vision = {**_TOWER, "image_size": 32, "patch_size": 16, "projection_dim": 16}
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    processor = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    return _saved(folder, getattr(transformers, kind)(config), tok, processor)


def git(folder: Path) -> Path:
    """GitForCausalLM: a decoder that sees the image's patches before its text."""
    transformers = _seeded()
    tok = tokenizer(model_max_length=32)
    config = transformers.GitConfig(
        **_TOWER,
        vocab_size=len(tok),
        max_position_embeddings=64,
        bos_token_id=tok.cls_token_id,
        eos_token_id=tok.sep_token_id,
        pad_token_id=tok.pad_token_id,
        vision_config={**_TOWER, "image_size": 32, "patch_size": 16},
    )
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return _saved(folder, transformers.GitForCausalLM(config), tok, processor)


def captioner(folder: Path) -> Path:
    """VisionEncoderDecoderModel: ViT sees, GPT-2 writes."""
    transformers = _seeded()
    tok = tokenizer(model_max_length=32)
    vit = transformers.ViTConfig(**_TOWER, image_size=32, patch_size=16)
    special = {"bos_token_id": tok.cls_token_id, "eos_token_id": tok.sep_token_id, "pad_token_id": tok.pad_token_id}
    gpt2 = transformers.GPT2Config(
        vocab_size=len(tok), n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5, **special
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, gpt2)
    config.decoder_start_token_id, config.pad_token_id = tok.cls_token_id, tok.pad_token_id
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config = transformers.GenerationConfig(decoder_start_token_id=tok.cls_token_id, **special)
    return _saved(folder, model, tok, transformers.ViTImageProcessor(size={"height": 32, "width": 32}))


def donut(folder: Path, *, questions: bool = True) -> Path:
    """VisionEncoderDecoderModel of Donut: Swin sees a page, MBART writes marked text. `questions`: about documents."""
    transformers = _seeded()
    tok = tokenizer(model_max_length=64)
    marks = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]
    if questions:
        tok.add_tokens(marks, special_tokens=True)
    tok.eos_token = "[SEP]"
    swin = transformers.DonutSwinConfig(
        image_size=[64, 48], patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    special = {"bos_token_id": tok.cls_token_id, "eos_token_id": tok.sep_token_id, "pad_token_id": tok.pad_token_id}
    mbart = transformers.MBartConfig(
        vocab_size=len(tok), d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=64,
        max_position_embeddings=64, init_std=0.5, is_decoder=True, add_cross_attention=True, **special,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(swin, mbart)
    config.decoder_start_token_id, config.pad_token_id = tok.cls_token_id, tok.pad_token_id
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config = transformers.GenerationConfig(decoder_start_token_id=tok.cls_token_id, **special)
    processor = transformers.DonutImageProcessor(size={"height": 64, "width": 48}, do_align_long_axis=False)
    return _saved(folder, model, tok, processor)


def layoutlm(folder: Path) -> Path:
    """LayoutLMForQuestionAnswering: words and their places, no pixels."""
    transformers = _seeded()
    tok = tokenizer(model_max_length=32)
    config = transformers.LayoutLMConfig(**_TOWER, vocab_size=len(tok), max_position_embeddings=32)
    return _saved(folder, transformers.LayoutLMForQuestionAnswering(config), tok)


def layoutlmv3(folder: Path) -> Path:
    """LayoutLMv3ForQuestionAnswering: words, their places and the page's pixels."""
    from tokenizers import pre_tokenizers

    transformers = _seeded()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {piece: i for i, piece in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tok = transformers.LayoutLMv3Tokenizer(vocab=vocabulary, merges=[], model_max_length=64)
    config = transformers.LayoutLMv3Config(
        **_TOWER, vocab_size=len(tok), max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        input_size=32, patch_size=16, coordinate_size=5, shape_size=6, rel_pos_bins=8, rel_2d_pos_bins=8,
        max_rel_pos=16, max_rel_2d_pos=16,
    )  # fmt: skip
    processor = transformers.LayoutLMv3ImageProcessor(size={"height": 32, "width": 32})
    return _saved(folder, transformers.LayoutLMv3ForQuestionAnswering(config), tok, processor)


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE {% else %}{{ part['text'] }} {% endif %}{% endfor %}[SEP] {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def llava(folder: Path) -> Path:
    """LlavaForConditionalGeneration: CLIP's tower, a Llama, four tokens for each image."""
    transformers = _seeded()
    tok = _seeing_tokenizer("<image>")
    vision = transformers.CLIPVisionConfig(**_TOWER, image_size=32, patch_size=16, projection_dim=16)
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=transformers.LlamaConfig(**_writer(tok)),
        image_token_id=tok.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tok,
        patch_size=16,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return _saved(folder, transformers.LlavaForConditionalGeneration(config), processor)


def qwen2_vl(folder: Path) -> Path:
    """Qwen2VLForConditionalGeneration: as many tokens as the image is large, positions in three dimensions."""
    transformers = _seeded()
    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tok = _seeing_tokenizer(*marks)
    ids = [tok.convert_tokens_to_ids(mark) for mark in marks]
    config = transformers.Qwen2VLConfig(
        text_config={
            **_writer(tok),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 4], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "initializer_range": 0.5,
        },
        image_token_id=ids[0],
        video_token_id=ids[1],
        vision_start_token_id=ids[2],
        vision_end_token_id=ids[3],
    )  # fmt: skip
    pixels = {"size": {"shortest_edge": 28 * 28, "longest_edge": 16 * 28 * 28}}
    processor = transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**pixels),
        tokenizer=tok,
        video_processor=transformers.Qwen2VLVideoProcessor(**pixels),
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return _saved(folder, transformers.Qwen2VLForConditionalGeneration(config), processor)


def smolvlm(folder: Path) -> Path:
    """Idefics3ForConditionalGeneration, SmolVLM's elder: images are cut into tiles, with marks between."""
    transformers = _seeded()
    rows = [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)]
    tok = _seeing_tokenizer("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *rows)
    config = transformers.Idefics3Config(
        vision_config={**_TOWER, "image_size": 32, "patch_size": 8},
        text_config=transformers.LlamaConfig(**_writer(tok)),
        image_token_id=tok.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tok.pad_token_id,
    )
    processor = transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tok,
        image_seq_len=4,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return _saved(folder, transformers.Idefics3ForConditionalGeneration(config), processor)


def blip2(folder: Path) -> Path:
    """Blip2ForConditionalGeneration: queries over an image, then OPT; no chat, and never without an image."""
    transformers = _seeded()
    tok = _seeing_tokenizer("<image>")
    special = {"bos_token_id": tok.cls_token_id, "eos_token_id": tok.sep_token_id, "pad_token_id": tok.pad_token_id}
    config = transformers.Blip2Config(
        vision_config={**_TOWER, "image_size": 32, "patch_size": 16},
        qformer_config={**_TOWER, "encoder_hidden_size": 32, "vocab_size": len(tok)},
        text_config={
            "model_type": "opt", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64,
            "vocab_size": len(tok), "word_embed_proj_dim": 32, "max_position_embeddings": 128, "init_std": 0.5,
            **special,
        },
        num_query_tokens=4,
        image_token_index=tok.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    processor = transformers.Blip2Processor(
        transformers.BlipImageProcessor(size={"height": 32, "width": 32}), tok, num_query_tokens=4
    )
    return _saved(folder, transformers.Blip2ForConditionalGeneration(config), processor)


def _seeing_tokenizer(*marks: str) -> Any:
    tok = tokenizer(model_max_length=256)
    tok.add_tokens(list(marks), special_tokens=True)
    tok.eos_token, tok.model_input_names = "[SEP]", ["input_ids", "attention_mask"]
    tok.padding_side = "left"
    return tok


def _writer(tok: Any) -> dict[str, Any]:
    special = {"bos_token_id": tok.cls_token_id, "eos_token_id": tok.sep_token_id, "pad_token_id": tok.pad_token_id}
    return {**_TOWER, **special, "vocab_size": len(tok), "num_key_value_heads": 2, "max_position_embeddings": 256}


_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.5,  # so that random weights give scores that differ
}


def _seeded() -> Any:
    import torch

    torch.manual_seed(0)
    return importlib.import_module("transformers")


def _saved(folder: Path, *parts: Any) -> Path:
    for part in parts:
        part.save_pretrained(folder)
    return folder
