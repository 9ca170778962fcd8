"""Networks that hear: features of a recording, and a batched forward whose padding changes nothing.

Not every network looks away from padding. Wav2Vec2's with a group norm (wav2vec2-base and its like) normalise over
time, padding included, and convolutions of Conformers blur it in; these run together only where lengths are equal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from slipway_runtime.tasks.audio.audio_kinds import Samples
from slipway_runtime.tasks.loading import Network

# Their feature extractors normalise each frame by itself, and everything after them knows the mask.
_PADDED = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio")

# Weights that only training looks at; published checkpoints (wav2vec2-base-960h) lack them.
TRAINING_ONLY = tuple(
    f"{name}.masked_spec_embed"
    for name in (
        "data2vec_audio", "hubert", "sew", "sew_d", "unispeech", "unispeech_sat", "wav2vec2", "wav2vec2_bert",
        "wav2vec2_conformer", "wavlm",
    )
)  # fmt: skip


class Hearing:
    """A network with its feature extractor."""

    def __init__(self, network: Network, extractor: Any) -> None:
        self.network = network
        self.extractor = extractor
        self.name: str = network.model.main_input_name
        config = network.config
        self._padded = (
            config.model_type in _PADDED
            and getattr(config, "feat_extract_norm", "") == "layer"
            and bool(getattr(extractor, "return_attention_mask", False))
        )
        self._masked = "attention_mask" in inspect.signature(network.model.forward).parameters

    def features(self, samples: Samples, **options: Any) -> torch.Tensor:
        """Of one recording, without the dimension of the batch. Time is the first dimension where it differs."""
        processed = self.extractor(samples, sampling_rate=self.extractor.sampling_rate, return_tensors="pt", **options)
        features: torch.Tensor = processed[self.name][0]
        return features

    def length(self, features: torch.Tensor) -> int:
        """Frames of the encoder."""
        config = self.network.config
        if features.ndim == 1:  # a waveform
            return max(1, features.shape[0] // int(getattr(config, "inputs_to_logits_ratio", 320)))
        if config.model_type == "audio-spectrogram-transformer":
            return features.numel() // int(config.frequency_stride * config.time_stride)
        return int(getattr(config, "max_source_positions", features.shape[0]))

    def outputs(
        self, features: Sequence[torch.Tensor], take: Callable[[Any], torch.Tensor], *, framed: bool = True
    ) -> list[torch.Tensor]:
        """`take` of the network's output for each, on the processor. `framed`: it has a row per frame, of which those
        that are padding are cut off."""
        results: list[torch.Tensor | None] = [None] * len(features)
        with torch.inference_mode():
            for rows in self._groups(features):
                taken = take(self._forward([features[row] for row in rows]))
                for row, result in zip(rows, taken, strict=True):
                    results[row] = (self._own(result, features[row]) if framed else result).cpu()
        return [result for result in results if result is not None]

    def equal_lengths(self, features: Sequence[torch.Tensor]) -> list[list[int]]:
        """Indexes of those that have the same length."""
        groups: dict[int, list[int]] = {}
        for row, one in enumerate(features):
            groups.setdefault(one.shape[0], []).append(row)
        return list(groups.values())

    def _groups(self, features: Sequence[torch.Tensor]) -> list[list[int]]:
        return [list(range(len(features)))] if self._padded else self.equal_lengths(features)

    def _forward(self, features: Sequence[torch.Tensor]) -> Any:
        device, model = self.network.device, self.network.model
        batch = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)
        inputs = {self.name: batch.to(device, model.dtype)}
        if self._masked:
            lengths = torch.tensor([one.shape[0] for one in features])
            inputs["attention_mask"] = (torch.arange(batch.shape[1]) < lengths[:, None]).long().to(device)
        return model(**inputs)

    def _own(self, result: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        if not self._padded or result.ndim == 0 or not hasattr(self.network.model, "_get_feat_extract_output_lengths"):
            return result
        return result[: int(self.network.model._get_feat_extract_output_lengths(features.shape[0]))]
