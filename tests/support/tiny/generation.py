"""Models that write: decoders of several architectures, encoder-decoders. A byte-level tokenizer, so that characters
of several bytes take several tokens, as in most real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.tiny.decoders import CLASSES, CONFIGS, SIZES

SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>")
# Words of several letters become tokens of their own, with the blank before them.
MERGED = ("Ġthe", "Ġfilm", "Ġwas", "Ġgreat", "Ġa", "Ġcat", "Ġof", "name", "Ġis", '":')
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}</s>{% endfor %}"
    "{% if tools %}<|system|>{{ tools | tojson }}</s>{% endif %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(
    *,
    model_max_length: int = 256,
    chat_template: str | None = None,
    bos: bool = False,
    words: Sequence[str] = MERGED,
    most: int = 32_000,
) -> Any:
    """Byte-level BPE, of about 330 tokens and at most `most`. `bos`: texts begin with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate((*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    merges: list[tuple[str, str]] = []
    for word in words:
        if len(ids) + len(word) > most:
            break
        left = word[0]
        for letter in word[1:]:
            if left + letter not in ids:
                ids[left + letter] = len(ids)
                merges.append((left, letter))
            left += letter
    raw = Tokenizer(models.BPE(vocab=ids, merges=merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    if bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", ids["<s>"])])
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(SPECIAL[3:]),
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
    )
    if chat_template is not None:
        made.chat_template = chat_template
    return made


def decoder(
    folder: Path, *, kind: str = "Llama", chat_template: str | None = None, bos: bool = False, **config: Any
) -> Path:
    """A model that continues texts, of the architecture `kind`: a key of decoders.SIZES."""
    import torch
    import transformers

    sizes = {**SIZES[kind], **config}
    tok = byte_tokenizer(
        model_max_length=sizes.get("max_position_embeddings", 256), chat_template=chat_template, bos=bos
    )
    torch.manual_seed(0)
    made = getattr(transformers, CONFIGS.get(kind, f"{kind}Config"))(
        vocab_size=len(tok), pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes
    )
    getattr(transformers, CLASSES.get(kind, f"{kind}ForCausalLM"))(made).eval().save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def chat_decoder(folder: Path, **config: Any) -> Path:
    """A Llama whose tokenizer has a chat template that knows tools."""
    return decoder(folder, chat_template=CHAT_TEMPLATE, **({"max_position_embeddings": 1024} | config))


def _save_encoder_decoder(folder: Path, name: str, tok: Any, config: Any, *, seed: int = 0) -> Path:
    import torch
    import transformers

    torch.manual_seed(seed)
    getattr(transformers, name)(config).eval().save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def t5(folder: Path, **config: Any) -> Path:
    """T5, whose config says how its tasks are asked for."""
    from transformers import T5Config

    tok = byte_tokenizer(model_max_length=64)
    sizes: dict[str, Any] = {
        "d_model": 32,
        "d_ff": 64,
        "d_kv": 8,
        "num_heads": 4,
        "num_layers": 2,
        "initializer_factor": 5.0,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 0,
        "task_specific_params": {
            "summarization": {"prefix": "summarize: ", "num_beams": 2, "max_length": 12, "min_length": 4},
            "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 14},
            "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 14},
        },
    }
    made = T5Config(vocab_size=len(tok), **(sizes | config))
    # A seed with which it writes whole characters at once: clients then get the same text with and without a stream.
    return _save_encoder_decoder(folder, "T5ForConditionalGeneration", tok, made, seed=5)


_BART_LIKE: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def bart(folder: Path, **config: Any) -> Path:
    """BART, with the token that all its answers begin with."""
    from transformers import BartConfig

    tok = byte_tokenizer(model_max_length=64)
    sizes = {**_BART_LIKE, "decoder_start_token_id": 2, "forced_bos_token_id": 1, "forced_eos_token_id": 2}
    made = BartConfig(vocab_size=len(tok), **(sizes | config))
    return _save_encoder_decoder(folder, "BartForConditionalGeneration", tok, made)


def marian(folder: Path, **config: Any) -> Path:
    """Marian for one pair of languages."""
    from transformers import MarianConfig

    tok = byte_tokenizer(model_max_length=64)
    sizes = {**_BART_LIKE, "decoder_start_token_id": 0, "forced_eos_token_id": 2}
    made = MarianConfig(vocab_size=len(tok), decoder_vocab_size=len(tok), **(sizes | config))
    return _save_encoder_decoder(folder, "MarianMTModel", tok, made)


def nllb(folder: Path, *, languages: tuple[str, ...] = ("eng_Latn", "fra_Latn", "deu_Latn"), **config: Any) -> Path:
    """M2M100 with NLLB's tokenizer, which writes the language before the text."""
    from transformers import M2M100Config, NllbTokenizer

    letters = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz.,"]
    tok = NllbTokenizer(
        vocab={letter: i for i, letter in enumerate(letters)},
        merges=[],
        extra_special_tokens=list(languages),
        model_max_length=64,
    )
    sizes = {**_BART_LIKE, "decoder_start_token_id": 2, "pad_token_id": 1, "bos_token_id": 0}
    made = M2M100Config(vocab_size=len(tok), **(sizes | config))
    return _save_encoder_decoder(folder, "M2M100ForConditionalGeneration", tok, made)
