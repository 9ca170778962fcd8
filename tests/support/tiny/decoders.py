"""Sizes of tiny decoders, by architecture: the prefix of its classes in transformers. Weights are spread so widely that
what random ones write varies."""

from __future__ import annotations

from typing import Any

LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
}
_GPT_LIKE: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.4}

SIZES: dict[str, dict[str, Any]] = {
    "Llama": LLAMA_LIKE,
    "Qwen2": LLAMA_LIKE,
    "Qwen3": {**LLAMA_LIKE, "head_dim": 8},
    "Mistral": {**LLAMA_LIKE, "sliding_window": 8},
    "Gemma3": {
        **LLAMA_LIKE,
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Starcoder2": {**LLAMA_LIKE, "sliding_window": 8},
    "Phi": {**LLAMA_LIKE, "num_key_value_heads": 4},
    "GPTNeoX": {key: value for key, value in LLAMA_LIKE.items() if key != "num_key_value_heads"},
    "GPT2": _GPT_LIKE,
    "GPTBigCode": _GPT_LIKE,
    "GPTJ": {**_GPT_LIKE, "rotary_dim": 4},
    "CodeGen": {**_GPT_LIKE, "rotary_dim": 4},
    "GPTNeo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
        "max_position_embeddings": 256,
        "initializer_range": 0.4,
    },
    "OPT": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "max_position_embeddings": 256,
        "init_std": 0.4,
    },
    "XGLM": {
        "d_model": 32,
        "num_layers": 2,
        "attention_heads": 4,
        "ffn_dim": 64,
        "max_position_embeddings": 256,
        "init_std": 0.4,
    },
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.4},
    "Mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "initializer_range": 0.4},
    "Falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.4,
    },
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.4},
    "Bart": {
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 256,
        "init_std": 0.4,
        "is_decoder": True,
        "is_encoder_decoder": False,
        "forced_eos_token_id": None,
    },
}
CLASSES = {"GPT2": "GPT2LMHeadModel"}
CONFIGS = {"Gemma3": "Gemma3TextConfig"}
