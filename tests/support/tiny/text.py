"""Text models: labels per token, answers in a context or a table, natural language inference, cross-encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.models import CORPUS, bert_config, classifier, tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")


def token_classifier(folder: Path, *, labels: Sequence[str] = ENTITIES, **config: Any) -> Path:
    """BertForTokenClassification."""
    return _save(folder, "BertForTokenClassification", id2label=dict(enumerate(labels)), **config)


def byte_level_token_classifier(folder: Path, *, labels: Sequence[str] = ENTITIES, **config: Any) -> Path:
    """RobertaForTokenClassification over byte-level pieces: nothing marks what goes on with a word, and one letter may
    be several tokens."""
    import torch
    from transformers import RobertaConfig, RobertaForTokenClassification

    torch.manual_seed(0)
    tok = byte_level_tokenizer()
    sizes = bert_config(len(tok)).to_dict() | {"max_position_embeddings": 66, "pad_token_id": 1} | config
    keep = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "initializer_range",
            "max_position_embeddings", "pad_token_id")  # fmt: skip
    model = RobertaForTokenClassification(
        RobertaConfig(vocab_size=len(tok), id2label=dict(enumerate(labels)), **{name: sizes[name] for name in keep})
    )
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """RoBERTa's special tokens and the 256 bytes, without a single merge."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    ids = {piece: number for number, piece in enumerate(pieces)}
    raw = Tokenizer(models.BPE(vocab=ids, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=64,
    )


def question_answerer(folder: Path, *, padding_side: str = "right", **config: Any) -> Path:
    """BertForQuestionAnswering."""
    return _save(folder, "BertForQuestionAnswering", padding_side=padding_side, **config)


def nli(folder: Path, *, labels: Sequence[str] = ("contradiction", "neutral", "entailment"), **config: Any) -> Path:
    """BertForSequenceClassification that says how far one text entails another."""
    return classifier(folder, labels=labels, **config)


def cross_encoder(folder: Path, **config: Any) -> Path:
    """BertForSequenceClassification with one score, as sentence-transformers' CrossEncoder writes it."""
    classifier(folder, labels=["LABEL_0"], **config)
    content = json.loads((folder / "config.json").read_text())
    content["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.1.0"}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def decoder_ranker(folder: Path, *, padding_side: str = "right", pads: Sequence[str] = ("config", "tokenizer")) -> Path:
    """Qwen3ForSequenceClassification with one score, read off a text's last token. `pads`: who knows what pads."""
    import torch
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    torch.manual_seed(0)
    tok = tokenizer()
    tok.padding_side = padding_side
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "id2label": {0: "LABEL_0"},
        "pad_token_id": 5 if "config" in pads else None,
    }
    kind: Any = Qwen3ForSequenceClassification
    kind(Qwen3Config(vocab_size=len(tok), **sizes)).save_pretrained(folder)
    if "tokenizer" not in pads:
        tok.pad_token = None
    tok.save_pretrained(folder)
    return folder


def table_answerer(
    folder: Path, *, aggregation: Sequence[str] = ("NONE", "SUM", "AVERAGE", "COUNT"), **config: Any
) -> Path:
    """TapasForQuestionAnswering; without `aggregation` it only picks cells."""
    import torch
    from transformers import TapasConfig, TapasForQuestionAnswering, TapasTokenizer

    torch.manual_seed(18)  # whose answers differ in cells and aggregators
    pieces = dict.fromkeys(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]", *"abcdefghijklmnopqrstuvwxyz0123456789?,.",
         *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"), *" ".join(CORPUS).split()]
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    heads: dict[str, Any] = {"num_aggregation_labels": len(aggregation)}
    if aggregation:
        heads |= {"aggregation_labels": dict(enumerate(aggregation)), "no_aggregation_label_index": 0}
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "type_vocab_sizes": [3, 16, 16, 2, 16, 16, 10],
    }
    model = TapasForQuestionAnswering(TapasConfig(vocab_size=len(pieces), **(sizes | heads | config)))
    model.save_pretrained(folder)
    TapasTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


def _save(folder: Path, model_class: str, *, padding_side: str = "right", **config: Any) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    tok = tokenizer(model_max_length=config.get("max_position_embeddings", 64))
    tok.padding_side = padding_side
    getattr(transformers, model_class)(bert_config(len(tok), **config)).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder
