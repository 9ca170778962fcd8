"""Models that make sound of tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Listener
from slipway_runtime.tasks.loading import Network

_TOKENS = 256  # of sound, where a request does not say: transformers' pipeline has as many


class Speaker(Protocol):
    """A model that makes sound. Parameters are those of text-to-speech."""

    rate: int
    """Samples per second."""
    generates: bool
    """Whether it takes generation_parameters."""

    def __init__(self, network: Network, tokenizer: Any) -> None: ...

    def check(self, parameters: Any, limits: Limits) -> None:
        """Raises InvalidInput for what this model cannot do."""

    def says(self, tokens: Sequence[int]) -> bool:
        """Whether there is anything to say in them."""

    def length(self, tokens: Sequence[int], parameters: Any) -> int:
        """What it costs, in tokens."""

    def say(self, tokens: Sequence[int], parameters: Any, listener: Listener) -> Any:
        """Samples [frames] or [frames, channels], numpy."""


class Vits:
    """One forward. Its noise and the lengths of its sounds are random."""

    generates = False

    def __init__(self, network: Network, tokenizer: Any) -> None:
        self._network = network
        self._blank = 0 if tokenizer.add_blank else -1
        self.rate: int = network.config.sampling_rate

    def check(self, parameters: Any, limits: Limits) -> None:  # noqa: ARG002 - as Speaker has it
        for name in ("generation_parameters", "generate_kwargs"):
            if getattr(parameters, name) is not None:
                raise InvalidInput(f"parameters.{name}", "this model speaks in one go, without generation")
        speakers = self._network.config.num_speakers
        if parameters.speaker_id is not None and parameters.speaker_id >= max(1, speakers):
            raise InvalidInput(
                "parameters.speaker_id", f"is {parameters.speaker_id}; this model's are 0 to {max(1, speakers) - 1}"
            )

    def says(self, tokens: Sequence[int]) -> bool:
        return any(token != self._blank for token in tokens)

    def length(self, tokens: Sequence[int], parameters: Any) -> int:  # noqa: ARG002 - as Speaker has it
        return len(tokens)

    def say(self, tokens: Sequence[int], parameters: Any, listener: Listener) -> Any:  # noqa: ARG002 - one forward
        speaks = self._network.config.num_speakers > 1
        with torch.inference_mode(), _seeded(parameters.seed, self._network.device):
            ids = torch.tensor([tokens], device=self._network.device)
            output = self._network.model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                speaker_id=(parameters.speaker_id or 0) if speaks else None,
                speaking_rate=parameters.speaking_rate or self._network.config.speaking_rate,
            )
        return output.waveform[0].float().cpu().numpy()


class MusicGen:
    """Tokens of sound one after the other, then a codec."""

    generates = True

    def __init__(self, network: Network, tokenizer: Any) -> None:  # noqa: ARG002 - as Speaker has it
        self._network = network
        codec = network.config.audio_encoder
        self.rate: int = codec.sampling_rate
        self._most: int = network.config.decoder.max_position_embeddings - network.config.decoder.num_codebooks

    def check(self, parameters: Any, limits: Limits) -> None:
        for name in ("speaker_id", "speaking_rate"):
            if getattr(parameters, name) is not None:
                raise InvalidInput(f"parameters.{name}", "this model does not speak: it plays what the text describes")
        given = _given(parameters)
        most = min(self._most, limits.max_new_tokens)
        for name in ("max_new_tokens", "max_length"):
            if given.get(name, 0) > most:
                raise InvalidInput(
                    f"parameters.generation_parameters.{name}", f"is {given[name]}, at most {most} are allowed"
                )
        if given.get("num_beams", 1) > 1:
            raise InvalidInput("parameters.generation_parameters.num_beams", "must be 1 for this model")

    def says(self, tokens: Sequence[int]) -> bool:
        return bool(tokens)

    def length(self, tokens: Sequence[int], parameters: Any) -> int:
        given = _given(parameters)
        return len(tokens) + int(given.get("max_new_tokens", given.get("max_length", _TOKENS)))

    def say(self, tokens: Sequence[int], parameters: Any, listener: Listener) -> Any:
        given = _given(parameters)
        if "max_length" not in given:
            given.setdefault("max_new_tokens", min(_TOKENS, self._most))
        with torch.inference_mode(), _seeded(parameters.seed, self._network.device):
            ids = torch.tensor([tokens], device=self._network.device)
            audio = self._network.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                stopping_criteria=StoppingCriteriaList([_Gone(listener)]),
                **given,
            )
        samples = audio[0].float().cpu().numpy()  # [channels, frames]
        return samples[0] if samples.shape[0] == 1 else samples.T


class _Gone(StoppingCriteria):
    """Stops where nobody waits for the answer any more."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - as StoppingCriteria has it
        return torch.full((input_ids.shape[0],), self._listener.gone, device=input_ids.device, dtype=torch.bool)


def _given(parameters: Any) -> dict[str, Any]:
    chosen = parameters.generation_parameters or parameters.generate_kwargs
    return chosen.given() if chosen is not None else {}


@contextlib.contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside, and as if nothing had been outside."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
