"""The direct forward, asked by the bench as a child: the limit of what a server can reach, and the judge of answers.

One process, no HTTP, no queue: tokenizer and model on all of the processor's cores, or on the GPU where there is one.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.runtime.child import answer
from bench.runtime.inputs import NEW_TOKENS, Source, words
from bench.runtime.limits import batches, candidates

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CALIBRATION_SECONDS = 0.7


class Direct(ABC):
    """A tokenizer and a model."""

    auto_class: str
    padding_side = "right"

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        auto = getattr(transformers, self.auto_class)
        self.model: Any = auto.from_pretrained(folder).eval().to(DEVICE)

    def run(self, texts: Sequence[str], size: int, *, in_order: bool = False) -> list[Any]:
        """An output per text: one window, tokenized at once, in batches of `size`."""
        ids = self.tokenizer(list(texts))["input_ids"]
        outputs: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for batch in batches([len(one) for one in ids], size, in_order=in_order):
                for index, output in zip(batch, self.forward(*self._padded([ids[i] for i in batch])), strict=True):
                    outputs[index] = output
        return outputs

    def _padded(self, ids: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest, pad = max(map(len, ids)), self.tokenizer.pad_token_id
        missing = [longest - len(one) for one in ids]
        if self.padding_side == "left":
            tokens = [[pad] * n + one for one, n in zip(ids, missing, strict=True)]
            mask = [[0] * n + [1] * len(one) for one, n in zip(ids, missing, strict=True)]
        else:
            tokens = [one + [pad] * n for one, n in zip(ids, missing, strict=True)]
            mask = [[1] * len(one) + [0] * n for one, n in zip(ids, missing, strict=True)]
        return torch.tensor(tokens, device=DEVICE), torch.tensor(mask, device=DEVICE)

    @abstractmethod
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Sequence[Any]:
        """An output per row."""

    @abstractmethod
    def difference(self, text: str, given: Any, own: Any) -> float:
        """How far a server's answer is from the own output; 0 is equal."""


class Classification(Direct):
    auto_class = "AutoModelForSequenceClassification"

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Sequence[Any]:
        scores: list[Any] = self.model(input_ids=ids, attention_mask=mask).logits.softmax(-1).tolist()
        return scores

    def difference(self, text: str, given: Any, own: Any) -> float:  # noqa: ARG002
        [scores] = given
        found = {one["label"]: one["score"] for one in scores}
        names = self.model.config.id2label
        return float(max(abs(found[names[i]] - score) for i, score in enumerate(own)))


class Embeddings(Direct):
    auto_class = "AutoModel"

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Sequence[Any]:
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        vectors: list[Any] = torch.nn.functional.normalize(pooled, dim=-1).tolist()
        return vectors

    def difference(self, text: str, given: Any, own: Any) -> float:  # noqa: ARG002
        vector = given[0] if isinstance(given[0], list) else given
        return float(1.0 - sum(a * b for a, b in zip(vector, own, strict=True)))


class Generation(Direct):
    auto_class = "AutoModelForCausalLM"
    padding_side = "left"

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Sequence[Any]:
        made = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts: list[str] = self.tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
        return texts

    def difference(self, text: str, given: Any, own: Any) -> float:
        return float(given.removeprefix(text) != own)


KINDS: dict[str, type[Direct]] = {
    "classification": Classification,
    "embeddings": Embeddings,
    "generation": Generation,
}


class Commands:
    """What the bench asks."""

    def __init__(self) -> None:
        self._direct: Direct | None = None
        self._source: Source | None = None

    def load(self, workload: str, folder: str, seed: int) -> dict[str, Any]:
        """Loads a model and says with what."""
        transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        self._direct = KINDS[workload](Path(folder))
        self._source = Source(words(Path(folder)), workload, seed)
        self.window(8, 8, 0.5)
        device = torch.cuda.get_device_name() if DEVICE == "cuda" else ""
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
        return {"versions": versions, "threads": torch.get_num_threads(), "gpu": device}

    def window(self, callers: int, size: int, seconds: float, in_order: bool = False) -> dict[str, float]:
        """Windows of `callers` inputs in their order of arrival, until `seconds` have passed: inputs per second, and
        seconds of CPU per input."""
        assert self._direct is not None
        assert self._source is not None
        taken, cpu, count = 0.0, 0.0, 0
        while taken < seconds:
            texts = self._source.some(callers)
            began, used = time.perf_counter(), time.process_time()
            self._direct.run(texts, size, in_order=in_order)
            taken, cpu = taken + time.perf_counter() - began, cpu + time.process_time() - used
            count += len(texts)
        return {"rate": count / taken, "cpu": cpu / count}

    def best(self, callers: int) -> int:
        """The batch size at which windows of `callers` go fastest: two rounds over all, then two more of the best."""
        sizes = candidates(callers)
        rates = dict.fromkeys(sizes, 0.0)
        for _ in range(2):
            for size in sizes:
                rates[size] += self.window(callers, size, CALIBRATION_SECONDS)["rate"]
            sizes = sorted(sizes, key=rates.__getitem__)[-3:]
            for size in sizes:
                rates[size] += self.window(callers, size, CALIBRATION_SECONDS)["rate"]
        return max(sizes, key=rates.__getitem__)

    def check(self, pairs: list[tuple[str, Any]]) -> float:
        """The largest difference of a server's answers from the own, each computed alone."""
        assert self._direct is not None
        return max(self._direct.difference(text, given, self._direct.run([text], 1)[0]) for text, given in pairs)


if __name__ == "__main__":
    commands = Commands()
    answer({name: getattr(commands, name) for name in ("load", "window", "best", "check")})
