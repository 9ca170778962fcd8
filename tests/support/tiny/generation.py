"""Models that write: decoders of several architectures, encoder-decoders. A byte-level tokenizer, so that characters
of several bytes take several tokens, as in most real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>")
# Words of several letters become tokens of their own, with the blank before them.
MERGED = ("Ġthe", "Ġfilm", "Ġwas", "Ġgreat", "Ġa", "Ġcat", "Ġof", "name", "Ġis", '":')
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}</s>{% endfor %}"
    "{% if tools %}<|system|>{{ tools | tojson }}</s>{% endif %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(*, model_max_length: int = 256, chat_template: str | None = None, bos: bool = False) -> Any:
    """Byte-level BPE of about 330 tokens. `bos`: texts begin with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate((*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    merges: list[tuple[str, str]] = []
    for word in MERGED:
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


_LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,  # so that random weights write something that varies
}
_SIZES: dict[str, dict[str, Any]] = {
    "Llama": _LLAMA_LIKE,
    "Qwen2": _LLAMA_LIKE,
    "Mistral": {**_LLAMA_LIKE, "sliding_window": 8},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.4},
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.4},
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.4},
}
_CLASSES = {"GPT2": "GPT2LMHeadModel"}


def decoder(
    folder: Path, *, kind: str = "Llama", chat_template: str | None = None, bos: bool = False, **config: Any
) -> Path:
    """A model that continues texts, of the architecture `kind`: a key of _SIZES."""
    import torch
    import transformers

    sizes = {**_SIZES[kind], **config}
    tok = byte_tokenizer(
        model_max_length=sizes.get("max_position_embeddings", 256), chat_template=chat_template, bos=bos
    )
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tok), pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes
    )
    getattr(transformers, _CLASSES.get(kind, f"{kind}ForCausalLM"))(made).eval().save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def chat_decoder(folder: Path, **config: Any) -> Path:
    """A Llama whose tokenizer has a chat template that knows tools."""
    return decoder(folder, chat_template=CHAT_TEMPLATE, **config)
