"""Models that hear and speak: Whisper, CTC, Speech2Text, Moonshine, audio classifiers, VITS, MusicGen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.models import tokenizer as word_tokenizer

LABELS = ("rain", "sun", "river", "cat", "dog", "house", "city")
LANGUAGES = ("en", "de", "fr", "ja")
LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def _made(name: str, *args: Any, **options: Any) -> Any:
    """An object of a class of transformers, by the class's name: many of them have no types."""
    import transformers

    return getattr(transformers, name)(*args, **options)


def _save(folder: Path, model_class: str, config: Any, *parts: Any, generation: dict[str, Any] | None = None) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, model_class)(config).eval()
    if generation is not None:
        model.generation_config = _made("GenerationConfig", **generation)
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def whisper_tokenizer(languages: Sequence[str] = LANGUAGES) -> Any:
    """Bytes of printable ASCII, some words of two, then the special tokens in Whisper's order, then timestamps."""
    from transformers import WhisperTokenizer

    letters = [chr(code) for code in range(33, 127)] + ["Ġ"]
    merges = [("Ġ", letter) for letter in "abcdefghijklmnopqrstuvwxyz"] + [("Ġa", "n"), ("Ġt", "h"), ("i", "n")]
    vocabulary = {piece: i for i, piece in enumerate([*letters, *("".join(merge) for merge in merges)])}
    tok = WhisperTokenizer(vocab=vocabulary, merges=merges)
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages), "<|translate|>"]
    special += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tok.add_special_tokens({"extra_special_tokens": special[1:]})
    tok.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(101)])
    return tok


def whisper(folder: Path, *, languages: Sequence[str] = LANGUAGES, window: int = 2, **config: Any) -> Path:
    """WhisperForConditionalGeneration with a window of 2 s. `languages` empty: English only."""
    from transformers import WhisperConfig

    tok = whisper_tokenizer(languages)
    ids = {name: tok.convert_tokens_to_ids(name) for name in tok.get_vocab() if name.startswith("<|")}
    eos, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    sizes: dict[str, Any] = {
        "vocab_size": len(tok), "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_mel_bins": 8,
        "max_source_positions": 50 * window, "max_target_positions": 48, "init_std": 0.4, "pad_token_id": eos,
        "bos_token_id": eos, "eos_token_id": eos, "decoder_start_token_id": start, "median_filter_width": 3,
    }  # fmt: skip
    known = {f"<|{code}|>": ids[f"<|{code}|>"] for code in languages}
    generation: dict[str, Any] = {
        "is_multilingual": bool(languages), "no_timestamps_token_id": ids["<|notimestamps|>"], "max_length": 24,
        "prev_sot_token_id": ids["<|startofprev|>"], "alignment_heads": [[0, 0], [1, 1]],
        "pad_token_id": eos, "bos_token_id": eos, "eos_token_id": eos, "decoder_start_token_id": start,
        "suppress_tokens": [ids["<|nospeech|>"], ids["<|startofprev|>"], ids["<|startoflm|>"]],
        "begin_suppress_tokens": [eos], "max_initial_timestamp_index": 50,
    }  # fmt: skip
    if languages:
        generation |= {"lang_to_id": known}
        generation |= {"task_to_id": {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}}
    extractor = _made("WhisperFeatureExtractor", feature_size=8, chunk_length=window)
    return _save(
        folder,
        "WhisperForConditionalGeneration",
        WhisperConfig(**(sizes | config)),
        extractor,
        tok,
        generation=generation,
    )


_WAV2VEC2: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (16, 16, 16, 16, 16, 16, 16), "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    "initializer_range": 0.5,
}  # fmt: skip


def ctc_tokenizer(folder: Path) -> Any:
    """Letters, with | between words."""

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return _made("Wav2Vec2CTCTokenizer", str(folder / "vocab.json"), word_delimiter_token="|")


def ctc(folder: Path, *, norm: str = "layer", architecture: str = "Wav2Vec2", **config: Any) -> Path:
    """Wav2Vec2ForCTC or HubertForCTC. `norm` group: as wav2vec2-base, whose padding is heard."""
    import transformers

    tok = ctc_tokenizer(folder)
    extractor = _made("Wav2Vec2FeatureExtractor", return_attention_mask=norm == "layer")
    sizes = _WAV2VEC2 | {"vocab_size": len(tok), "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
    made = getattr(transformers, f"{architecture}Config")(**(sizes | {"pad_token_id": 0} | config))
    return _save(folder, f"{architecture}ForCTC", made, extractor, tok)


def moonshine(folder: Path, **config: Any) -> Path:
    """MoonshineForConditionalGeneration."""
    from transformers import MoonshineConfig

    tok = word_tokenizer()
    sizes: dict[str, Any] = {
        "vocab_size": len(tok), "hidden_size": 32, "intermediate_size": 48, "encoder_num_hidden_layers": 1,
        "decoder_num_hidden_layers": 1, "encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2,
        "max_position_embeddings": 64, "initializer_range": 0.5, "bos_token_id": 2, "eos_token_id": 3,
        "decoder_start_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    extractor = _made("Wav2Vec2FeatureExtractor", do_normalize=False, return_attention_mask=True)
    return _save(
        folder,
        "MoonshineForConditionalGeneration",
        MoonshineConfig(**(sizes | config)),
        extractor,
        tok,
        generation={
            "max_length": 16,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "decoder_start_token_id": 2,
            "pad_token_id": 0,
        },
    )


def speech2text(folder: Path, **config: Any) -> Path:
    """Speech2TextForConditionalGeneration, with a tokenizer that needs no sentencepiece."""
    from transformers import Speech2TextConfig

    tok = word_tokenizer()
    special = {"bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2, "pad_token_id": 0}
    sizes: dict[str, Any] = {
        "vocab_size": len(tok), "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "input_feat_per_channel": 8,
        "max_source_positions": 400, "max_target_positions": 32, "conv_channels": 32, "init_std": 0.4,
    }  # fmt: skip
    return _save(
        folder,
        "Speech2TextForConditionalGeneration",
        Speech2TextConfig(**(sizes | special | config)),
        _made("Speech2TextFeatureExtractor", feature_size=8, num_mel_bins=8),
        tok,
        generation={"max_length": 16} | special,
    )


def _named(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def classifier(folder: Path, *, labels: Sequence[str] = LABELS, norm: str = "layer", **config: Any) -> Path:
    """Wav2Vec2ForSequenceClassification."""
    from transformers import Wav2Vec2Config

    sizes = _WAV2VEC2 | {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "classifier_proj_size": 16}
    extractor = _made("Wav2Vec2FeatureExtractor", return_attention_mask=norm == "layer")
    made = Wav2Vec2Config(**(sizes | _named(labels) | config))
    return _save(folder, "Wav2Vec2ForSequenceClassification", made, extractor)


def spectrogram_classifier(folder: Path, *, labels: Sequence[str] = LABELS, **config: Any) -> Path:
    """ASTForAudioClassification with a window of 1.28 s."""
    from transformers import ASTConfig

    sizes: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "patch_size": 8,
        "frequency_stride": 8, "time_stride": 8, "max_length": 128, "num_mel_bins": 16, "initializer_range": 0.5,
    }  # fmt: skip
    extractor = _made("ASTFeatureExtractor", num_mel_bins=16, max_length=128)
    return _save(folder, "ASTForAudioClassification", ASTConfig(**(sizes | _named(labels) | config)), extractor)


def whisper_classifier(folder: Path, *, labels: Sequence[str] = LABELS, window: int = 2, **config: Any) -> Path:
    """WhisperForAudioClassification with a window of 2 s."""
    from transformers import WhisperConfig

    sizes: dict[str, Any] = {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_mel_bins": 8,
        "max_source_positions": 50 * window, "init_std": 0.4, "classifier_proj_size": 16,
    }  # fmt: skip
    extractor = _made("WhisperFeatureExtractor", feature_size=8, chunk_length=window)
    made = WhisperConfig(**(sizes | _named(labels) | config))
    return _save(folder, "WhisperForAudioClassification", made, extractor)


def vits(folder: Path, *, speakers: int = 1, **config: Any) -> Path:
    """VitsModel of letters, as the MMS voices are."""
    from transformers import VitsConfig

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: i for i, piece in enumerate([" ", *LETTERS, "<unk>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tok = _made(
        "VitsTokenizer",
        str(folder / "vocab.json"),
        language="eng",
        add_blank=True,
        normalize=True,
        phonemize=False,
        pad_token=" ",
    )
    sizes: dict[str, Any] = {
        "vocab_size": len(tok), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16,
        "flow_size": 8, "spectrogram_bins": 9, "upsample_initial_channel": 16, "upsample_rates": [8, 4],
        "upsample_kernel_sizes": [16, 8], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]],
        "posterior_encoder_num_wavenet_layers": 1, "prior_encoder_num_flows": 2, "prior_encoder_num_wavenet_layers": 1,
        "duration_predictor_num_flows": 2, "depth_separable_num_layers": 1, "duration_predictor_flow_bins": 4,
        "num_speakers": speakers, "speaker_embedding_size": 8 if speakers > 1 else 0, "sampling_rate": 16_000,
    }  # fmt: skip
    return _save(folder, "VitsModel", VitsConfig(**(sizes | config)), tok)


def musicgen(folder: Path, **config: Any) -> Path:
    """MusicgenForConditionalGeneration: T5, a decoder of two codebooks, and EnCodec at 1600 samples per second."""
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig

    tok = word_tokenizer()
    text = _made("T5Config",
        vocab_size=len(tok), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0,
        decoder_start_token_id=0,
    )  # fmt: skip
    codec = EncodecConfig(
        target_bandwidths=[1.0], sampling_rate=1600, num_filters=4, num_residual_layers=1, upsampling_ratios=[8, 4],
        hidden_size=8, codebook_size=32, codebook_dim=8, num_lstm_layers=1, use_causal_conv=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=32, max_position_embeddings=128, num_hidden_layers=1, ffn_dim=16, num_attention_heads=2,
        hidden_size=16, num_codebooks=2, pad_token_id=32, bos_token_id=32, audio_channels=1, initializer_factor=0.5,
    )  # fmt: skip
    made = MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder, **config)
    generation = {
        "do_sample": True, "guidance_scale": 3.0, "max_length": 64, "decoder_start_token_id": 32, "bos_token_id": 32,
        "pad_token_id": 32,
    }  # fmt: skip
    return _save(folder, "MusicgenForConditionalGeneration", made, tok, generation=generation)
