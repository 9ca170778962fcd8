"""Whisper: sound → text with languages, translation into English, prompts, and timestamps of phrases or words.

A recording longer than the model's window of 30 s goes through the model's own long-form generation: it writes
timestamps, and the next window begins where the last phrase ended.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Item
from slipway_runtime.tasks.audio.recordings import Recording
from slipway_runtime.tasks.audio.speech.options import Options
from slipway_runtime.tasks.audio.speech.recognizer import Heard, Piece, refuse
from slipway_runtime.tasks.loading import Network
from slipway_runtime.tasks.transcript import Segment, Transcript, Word

# Tokens of the decoder that are no text: start, language, task, no timestamps.
_START_TOKENS = 4


@dataclass(frozen=True)
class Phrase:
    """One segment as generate() gives it: seconds, tokens, and the mean log probability of its window's tokens."""

    start: float
    end: float
    tokens: tuple[int, ...]
    avg_logprob: float | None


@dataclass(frozen=True)
class Phrases:
    """What generate() gives for one recording."""

    phrases: tuple[Phrase, ...]
    language: int | None
    """Token of the language that was named or detected."""
    ends: Any = None
    """Seconds at which each token of all phrases ends, where words are asked for."""


@dataclass(frozen=True)
class WhisperForward:
    """Recordings with equal options run together; long ones apart, since generate() treats a batch alike."""

    whisper: Whisper
    options: Options
    long: bool

    def __call__(self, items: Sequence[Item]) -> list[Heard]:
        if all(item.listener.gone for item in items):
            return [Heard(item.data, Phrases((), None)) for item in items]
        return self.whisper.generate(items, self.options)


class _GoneError(Exception):
    """Nobody waits any more."""


class Whisper:
    """A Recognizer."""

    def __init__(self, network: Network, extractor: Any, tokenizer: Any) -> None:
        self.rate: int = extractor.sampling_rate
        self._model = network.model
        self._device = network.device
        self._extractor = extractor
        self._tokenizer = tokenizer
        self._config = network.config
        settings = network.model.generation_config
        self._settings = settings
        self._languages: dict[str, int] = getattr(settings, "lang_to_id", None) or {}  # <|en|> → token
        self._multilingual = bool(self._languages) and getattr(settings, "is_multilingual", True)
        self._begin = getattr(settings, "no_timestamps_token_id", network.config.vocab_size) + 1
        self._prompt_most = network.config.max_target_positions // 2 - 1
        # generate() keeps each window's whole output with each of its segments: attentions and scores of half an hour
        # are gigabytes. Only what is read from them stays.
        self._retrieve = network.model._retrieve_segment
        network.model._retrieve_segment = self._slim

    def check(self, options: Options) -> Options:
        refuse(
            options,
            "Whisper finds its own windows; leave it out, long recordings are taken as they are",
            "chunk",
            "stride",
        )
        if options.timestamps == "char":
            raise InvalidInput("parameters.return_timestamps", "must be true or word: Whisper has none of characters")
        if options.timestamps and not hasattr(self._settings, "no_timestamps_token_id"):
            raise InvalidInput("parameters.return_timestamps", "this model was made without tokens for timestamps")
        if options.timestamps == "word" and not getattr(self._settings, "alignment_heads", None):
            raise InvalidInput(
                "parameters.return_timestamps",
                "must be true: this model's generation_config.json has no alignment_heads, which word needs",
            )
        language = self._language(options.language) if options.language else ""
        if options.task == "translate" and not self._multilingual:
            raise InvalidInput("parameters.task", "must be transcribe: this model knows English only")
        tokens = self._prompt_tokens(options.prompt)
        conditioned = dict(options.generate).get("condition_on_prev_tokens", False)
        self._check_lengths(options, self._prompt_most + 1 if conditioned else len(tokens))
        # An English-only model is asked for neither: transformers refuses even what it would do anyway. Any other is
        # always told its task: without one the token for it would be left out.
        told = self._multilingual and hasattr(self._settings, "task_to_id")
        task = (options.task or "transcribe") if told else None
        return Options(options.timestamps, language, task, options.prompt, options.generate)

    def items(self, recording: Recording, number: int, options: Options, field: str) -> list[Item]:
        long = len(recording.samples) > self._extractor.n_samples
        if long and not hasattr(self._settings, "no_timestamps_token_id"):
            window = self._extractor.n_samples / self.rate
            raise InvalidInput(
                field,
                f"has {recording.seconds:.1f} s of sound, this model takes {window:g} s: it knows no timestamps",
            )
        processed = self._extractor(
            recording.samples,
            sampling_rate=self.rate,
            return_tensors="pt",
            return_attention_mask=True,
            **({"truncation": False, "padding": "longest"} if long else {}),
        )
        features, frames = processed["input_features"][0], int(processed["attention_mask"][0].sum())
        windows = -(-features.shape[1] // self._extractor.nb_max_frames)
        return [
            Item(
                forward=WhisperForward(self, options, long),
                length=windows * self._config.max_source_positions,
                data=Piece(number, recording.seconds, features, frames=frames),
            )
        ]

    def generate(self, items: Sequence[Item], options: Options) -> list[Heard]:
        """One call of the model's own generate() for recordings that are all short or all long."""
        pieces: list[Piece] = [item.data for item in items]

        def progress(_: torch.Tensor) -> None:
            if all(item.listener.gone for item in items):
                raise _GoneError

        arguments = dict(options.generate)
        if arguments.pop("do_sample", None) is False:
            arguments["temperature"] = 0.0  # generate() derives the one from the other
        attention = self._model.config._attn_implementation
        try:
            with torch.inference_mode():
                result = self._model.generate(
                    **self._batch(pieces),
                    **arguments,
                    language=f"<|{options.language}|>" if options.language else None,
                    task=options.task,
                    prompt_ids=self._prompt(options.prompt),
                    return_timestamps=bool(options.timestamps) or None,
                    return_token_timestamps=True if options.timestamps == "word" else None,
                    return_segments=True,
                    monitor_progress=progress,
                    **({"output_scores": True, "return_dict_in_generate": True} if options.timestamps else {}),
                )
        except _GoneError:
            return [Heard(piece, Phrases((), None)) for piece in pieces]
        finally:
            # For words generate() switches to slower attention, and leaves it so.
            self._model.config._attn_implementation = attention
        return [
            Heard(piece, self._phrases(segments)) for piece, segments in zip(pieces, result["segments"], strict=True)
        ]

    def transcript(self, heard: Sequence[Heard], options: Options) -> Transcript:
        [one] = heard
        said: Phrases = one.output
        seconds = one.piece.seconds
        code = self._code(said.language, options)
        # The model hears a window padded with silence: what it makes of that is none of the recording's.
        phrases = [phrase for phrase in said.phrases if phrase.start < seconds]
        segments = tuple(self._segment(phrase, options, seconds) for phrase in phrases)
        words = self._words(said, LANGUAGES.get(code)) if options.timestamps == "word" else ()
        return Transcript(
            text="".join(segment.text for segment in segments),
            duration=seconds,
            language=code,
            language_name=LANGUAGES.get(code, ""),
            task=options.task or "transcribe",
            granularity=options.timestamps,
            segments=tuple(s for s in segments if s.text.strip()) if options.timestamps else (),
            words=tuple(word for word in words if word.start < seconds),
        )

    def _batch(self, pieces: Sequence[Piece]) -> dict[str, torch.Tensor]:
        longest = max(piece.features.shape[1] for piece in pieces)
        features = torch.zeros(len(pieces), pieces[0].features.shape[0], longest)
        mask = torch.zeros(len(pieces), longest, dtype=torch.long)
        for row, piece in enumerate(pieces):
            features[row, :, : piece.features.shape[1]] = piece.features
            mask[row, : piece.frames] = 1
        return {
            "input_features": features.to(self._device, self._model.dtype),
            "attention_mask": mask.to(self._device),
        }

    def _slim(self, **found: Any) -> Any:
        """generate()'s own cutting into segments, each with the few numbers that are read from its window's output."""
        segments, offset = self._retrieve(**found)
        window = found["seek_outputs"][found["idx"]]
        plain = isinstance(window, torch.Tensor)
        few: dict[str, Any] = {"sequences": window if plain else window["sequences"]}
        if not plain and "token_timestamps" in window:
            few["token_timestamps"] = window["token_timestamps"]
        few["avg_logprob"] = None if plain else _mean_logprob(window.get("scores"), found["seek_sequence"])
        for segment in segments:
            segment["result"] = few
        return segments, offset

    def _phrases(self, segments: Sequence[dict[str, Any]]) -> Phrases:
        phrases = tuple(
            Phrase(
                round(float(segment["start"]), 2),
                round(float(segment["end"]), 2),
                tuple(segment["tokens"].tolist()),
                segment["result"]["avg_logprob"],
            )
            for segment in segments
        )
        ids = set(self._languages.values())
        first = segments[0]["result"]["sequences"].tolist() if segments else ()
        timed = [segment["token_timestamps"].float().cpu() for segment in segments if "token_timestamps" in segment]
        return Phrases(
            phrases, next((token for token in first if token in ids), None), torch.cat(timed) if timed else None
        )

    def _segment(self, phrase: Phrase, options: Options, most: float) -> Segment:
        text = self._tokenizer.decode(
            [token for token in phrase.tokens if token < self._begin], skip_special_tokens=True
        )
        content = text.encode()
        return Segment(
            text=text,
            start=phrase.start,
            end=min(phrase.end, most),
            tokens=phrase.tokens,
            temperature=dict(options.generate).get("temperature", 0.0),
            compression_ratio=len(content) / len(zlib.compress(content)),
            avg_logprob=phrase.avg_logprob,
        )

    def _words(self, said: Phrases, language: str | None) -> tuple[Word, ...]:
        """By the tokenizer's own grouping, as transformers' pipeline does it."""
        tokens = [token for phrase in said.phrases for token in phrase.tokens]
        if not tokens or said.ends is None:
            return ()
        before = self._languages.get(f"<|{TO_LANGUAGE_CODE.get(language or '', '')}|>")
        marked = [tokens] if before is None else [[before, *tokens]]  # says how words are told apart
        ends = [said.ends.tolist()] if before is None else [[0.0, *said.ends.tolist()]]
        _, optional = self._tokenizer._decode_asr(
            [{"tokens": torch.tensor(marked), "token_timestamps": torch.tensor(ends)}],
            return_timestamps="word",
            return_language=None,
            time_precision=self._extractor.chunk_length / self._config.max_source_positions,
        )
        return tuple(Word(chunk["text"], *chunk["timestamp"]) for chunk in optional["chunks"])

    def _code(self, token: int | None, options: Options) -> str:
        if options.language or not self._multilingual:
            return options.language or "en"
        return next((name[2:-2] for name, one in self._languages.items() if one == token), "")

    def _language(self, wanted: str) -> str:
        """A code, a name or <|code|> → the code."""
        name = wanted.strip().lower().removeprefix("<|").removesuffix("|>")
        code = TO_LANGUAGE_CODE.get(name, name)
        if not self._multilingual:
            if code == "en":
                return ""
            raise InvalidInput("parameters.language", f"is {wanted!r}, but this model knows English only")
        if f"<|{code}|>" not in self._languages:
            known = ", ".join(sorted(name[2:-2] for name in self._languages))
            raise InvalidInput("parameters.language", f"is {wanted!r}; this model's languages are {known}")
        return code

    def _prompt_tokens(self, prompt: str) -> list[int]:
        """Its last tokens that fit, as in OpenAI's own: <|startofprev|> and at most 223 of the text."""
        if not prompt:
            return []
        try:
            start, *tokens = self._tokenizer.get_prompt_ids(prompt).tolist()
        except ValueError:  # its text quotes the prompt
            raise InvalidInput(
                "parameters.prompt", "must not have special tokens in it, such as <|endoftext|>"
            ) from None
        return [start, *tokens[-self._prompt_most :]]

    def _prompt(self, prompt: str) -> torch.Tensor | None:
        return torch.tensor(self._prompt_tokens(prompt), device=self._device) if prompt else None

    def _check_lengths(self, options: Options, prompt: int) -> None:
        """generate() refuses more than its positions, with a sentence for programmers."""
        most = self._config.max_target_positions - _START_TOKENS - prompt
        for name in ("max_new_tokens", "min_new_tokens", "max_length", "min_length"):
            asked = dict(options.generate).get(name)
            if asked is not None and asked > most:
                after = " after what the model is told before" if prompt else ""
                raise InvalidInput(f"parameters.generation_parameters.{name}", f"is {asked}, at most {most} fit{after}")


def _mean_logprob(scores: Any, tokens: torch.Tensor) -> float | None:
    """Of the chosen tokens. `scores`: per step, of the whole vocabulary."""
    steps = min(len(scores or ()), len(tokens))
    if not steps:
        return None
    logprobs = [float(scores[i].float().log_softmax(-1)[tokens[i]]) for i in range(steps)]
    return sum(logprobs) / steps
