"""Load a checked folder into memory: config, tokenizer, weights. Never reaches for the network.

`use_safetensors`, `trust_remote_code=False` and `local_files_only` are all passed explicitly, although artifacts/ has
already refused what they guard against.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoTokenizer

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.quantised import quantisation
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Adapter, Limits, Loaded
from slipway_runtime.tasks.precision import dtype_of
from slipway_runtime.tasks.texts import Encoded, TextTokenizer

_SAFE = {"local_files_only": True, "trust_remote_code": False}
# These count positions from the padding token on, so two of the table's rows are not for tokens.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text",
                     "layoutlmv3")  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A model on its device."""

    model: Any
    config: Any
    device: torch.device

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def loaded(self, *adapters: Adapter, max_input_tokens: int = 0) -> Loaded:
        """What the server gets: the adapters over this network, the default first."""
        return Loaded(
            task=adapters[0].task,
            adapters={adapter.task: adapter for adapter in adapters},
            max_input_tokens=max_input_tokens,
            device=str(self.device),
            dtype=str(self.model.dtype).removeprefix("torch."),
            parameters=self.parameters,
            model=self.model,
        )


@dataclass(frozen=True)
class TextModel(Network):
    """A model with its tokenizer on its device."""

    tokenizer: TextTokenizer

    def run(self, texts: Sequence[Encoded]) -> tuple[Any, Any]:
        """One batch, in the inference thread: the model's output, and which places [batch, tokens] are no padding."""
        with torch.inference_mode():
            batch = self.tokenizer.collate(texts, self.device)
            return self.model(**batch), batch["attention_mask"].bool()

    def loaded(self, *adapters: Adapter, max_input_tokens: int = 0) -> Loaded:
        made = super().loaded(*adapters, max_input_tokens=max_input_tokens or self.tokenizer.limit)
        return replace(made, tokenizer=self.tokenizer)


def load_config(artifact: Artifact) -> Any:
    """The model's configuration object.

    Raises ModelFault where this transformers does not know the architecture, or the file does not fit it.
    """
    try:
        return AutoConfig.from_pretrained(str(artifact.folder), **_SAFE)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFault(
            "TaskNotSupported",
            f"{artifact.id}: model_type {artifact.config.get('model_type')!r} is not known to this image's "
            f"transformers ({_first(error)})",
            "model",
        ) from None
    except StrictDataclassError as error:  # its first line is only where, the cause is on the next
        why = " ".join(str(error).split())[:200]
        raise ModelFault("ModelCorrupt", f"{artifact.id}: config.json cannot be read ({why})", "model") from None


def load_network(artifact: Artifact, auto_class: Any, config: Any, *, optional: tuple[str, ...] = ()) -> Network:
    """Load the weights with `auto_class` (an AutoModelFor…). `optional`: prefixes of weights that may be absent.

    In the type that precision.py finds, and quantised where that is asked for (int8.py).
    Raises ModelFault when the files do not make a whole model, or it cannot be quantised.
    """
    source = artifact.id
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, info = auto_class.from_pretrained(
            str(artifact.folder),
            config=config,
            use_safetensors=True,
            output_loading_info=True,
            dtype=dtype_of(artifact, device) or "auto",
            **_SAFE,
        )
    except ImportError as error:
        method = (quantisation(artifact.config) or {}).get("quant_method")
        needs = (
            f"is quantised by {str(method)[:40]!r} and needs kernels that this image does not have on {device.type}"
            if method is not None
            else f"needs a library that this image does not have ({_first(error)})"  # "X requires the scipy library …"
        )
        raise ModelFault("TaskNotSupported", f"{source} {needs}", "model") from None
    except ValueError as error:
        raise ModelFault(
            "TaskNotSupported", f"{source} cannot be loaded for this task ({_first(error)})", "task"
        ) from None
    except RuntimeError as error:
        shapes = "mismatched" in str(error)  # their text is a table for a terminal
        why = "the shapes differ" if shapes else _first(error)
        raise ModelFault("ModelCorrupt", f"{source}: its weights do not fit its config.json ({why})", "model") from None
    except OSError as error:
        raise ModelFault("ModelCorrupt", f"{source}: its weights cannot be read ({_first(error)})", "model") from None
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(optional or ("\0",)))
    if missing:  # transformers would fill them with random numbers and answer nonsense
        raise ModelFault(
            "ModelCorrupt",
            f"{source}: its safetensors lack {len(missing)} weights of {type(model).__name__}, first "
            f"{', '.join(missing[:3])}. Is it a base model that was never tuned for this task?",
            "model",
        )
    model = model.to(device).eval()
    if artifact.quantization:
        from slipway_runtime.tasks.int8 import quantise  # noqa: PLC0415 - most are not

        quantise(model, source)
    return Network(model, config, device)


def load_text_model(
    artifact: Artifact, auto_class: Any, limits: Limits, *, optional: tuple[str, ...] = ()
) -> TextModel:
    """Network and tokenizer, see `load_network`."""
    config = load_config(artifact)
    tokenizer = load_tokenizer(artifact, config)
    network = load_network(artifact, auto_class, config, optional=optional)
    limit = input_limit(config, tokenizer, limits.max_input_tokens)
    # A tokenizer may make token types for a model that has none (BERT's beside DistilBERT's weights).
    types = "token_type_ids" in tokenizer.model_input_names
    types = types and "token_type_ids" in inspect.signature(network.model.forward).parameters
    pad = getattr(config, "pad_token_id", None)  # by it decoders find a text's last token, and RoBERTa its places
    pad = pad if isinstance(pad, int) and pad >= 0 else tokenizer.pad_token_id
    reader = TextTokenizer(tokenizer, limit, needs_types=types, pad=pad or 0)
    return TextModel(network.model, config, network.device, reader)


def load_tokenizer(artifact: Artifact, config: Any) -> Any:
    """A tokenizer with a vocabulary. Raises ModelFault."""
    tokenizer = load_part(artifact, AutoTokenizer, "tokenizer", config=config)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelFault("ModelCorrupt", f"{artifact.id} has no vocabulary: add its tokenizer.json", "model")
    return tokenizer


def load_part(artifact: Artifact, auto_class: Any, what: str, **options: Any) -> Any:
    """What stands beside the weights, by its Auto class: AutoTokenizer, AutoImageProcessor, AutoFeatureExtractor,
    AutoProcessor. `what` is its name for messages. Raises ModelFault."""
    try:
        return auto_class.from_pretrained(str(artifact.folder), **_SAFE, **options)
    except Exception as error:
        raise ModelFault(
            "ModelCorrupt", f"{artifact.id} has no {what} that can be loaded ({_first(error)})", "model"
        ) from None


def input_limit(config: Any, tokenizer: Any, lower: int) -> int:
    """Most tokens of one input: the least of the tokenizer's, the position table's and the setting's limit."""
    candidates = [int(tokenizer.model_max_length)]  # 1e30 where it says nothing
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = (getattr(config, "pad_token_id", 0) or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
        candidates.append(positions - offset)
    if lower:
        candidates.append(lower)
    return min(candidates)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
