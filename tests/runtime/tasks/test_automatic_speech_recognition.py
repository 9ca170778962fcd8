"""automatic-speech-recognition against the models' own forwards and transformers' pipeline."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.transcript import Transcript

from tests.support.asking import ask, load
from tests.support.sounds import RATE, chirp, encoded
from tests.support.tiny import audio

SHORT, LONG = 1.5, 6.9  # seconds; the tiny Whisper's window has 2


def sound(seconds: float, seed: int = 0) -> bytes:
    return encoded(chirp(seconds, seed=seed), subtype="FLOAT")


def array(seconds: float, seed: int = 0) -> dict[str, Any]:
    return {"array": chirp(seconds, seed=seed), "sampling_rate": RATE}


def part(folder: Path, name: str) -> Any:
    """A part of a model, by the name of its class in transformers."""
    import transformers

    return getattr(transformers, name).from_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("speech")
    return {
        "whisper": audio.whisper(root / "whisper"),
        "english": audio.whisper(root / "english", languages=()),
        "ctc": audio.ctc(root / "ctc"),
        "group": audio.ctc(root / "group", norm="group", architecture="Hubert"),
        "moonshine": audio.moonshine(root / "moonshine"),
        "speech2text": audio.speech2text(root / "speech2text"),
    }


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Loaded]:
    return {name: load(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def pipelines(folders: dict[str, Path]) -> Any:
    from transformers import pipeline

    names = ("whisper", "ctc", "group")
    return {name: pipeline("automatic-speech-recognition", model=str(folders[name])) for name in names}


# Whisper


@pytest.mark.parametrize("seconds", [2.0, 6.0])
def test_whisper_writes_what_transformers_pipeline_writes(
    models: dict[str, Loaded], pipelines: Any, seconds: float
) -> None:
    asked = {"language": "german", "task": "transcribe", "num_beams": 1, "max_new_tokens": 20}
    answer: Transcript = ask(models["whisper"], sound(seconds), generate_kwargs=asked)
    assert answer.text
    assert answer.plain() == {"text": pipelines["whisper"](array(seconds), generate_kwargs=asked)["text"]}


def test_whisper_agrees_with_its_own_generate(models: dict[str, Loaded], folders: dict[str, Path]) -> None:

    model = part(folders["whisper"], "WhisperForConditionalGeneration")
    extractor = part(folders["whisper"], "AutoFeatureExtractor")
    tokenizer = part(folders["whisper"], "AutoTokenizer")
    features = extractor(chirp(SHORT), sampling_rate=RATE, return_tensors="pt").input_features
    ids = model.generate(features, language="fr", task="translate", num_beams=3)
    answer = ask(models["whisper"], sound(SHORT), language="fr", generate_kwargs={"task": "translate", "num_beams": 3})
    assert answer.text == tokenizer.decode(ids[0], skip_special_tokens=True)
    assert (answer.task, answer.language, answer.language_name) == ("translate", "fr", "french")


@pytest.mark.parametrize("seconds", [2.0, 6.0])
def test_whispers_words_are_where_transformers_pipeline_has_them(
    models: dict[str, Loaded], pipelines: Any, seconds: float
) -> None:
    asked = {"language": "german", "task": "transcribe", "num_beams": 1, "max_new_tokens": 20}
    answer = ask(models["whisper"], sound(seconds), return_timestamps="word", generate_kwargs=asked)
    expected = pipelines["whisper"](array(seconds), return_timestamps="word", generate_kwargs=asked)["chunks"]
    inside = [chunk for chunk in expected if chunk["timestamp"][0] < seconds]
    assert answer.words
    assert [(word.text, (word.start, word.end)) for word in answer.words] == [
        (chunk["text"], chunk["timestamp"]) for chunk in inside
    ]
    assert answer.segments  # OpenAI's verbose_json may want both


def test_whispers_phrases_are_those_of_its_long_form_generation(
    models: dict[str, Loaded], folders: dict[str, Path]
) -> None:

    model = part(folders["whisper"], "WhisperForConditionalGeneration")
    extractor = part(folders["whisper"], "AutoFeatureExtractor")
    inputs = extractor(
        chirp(LONG), sampling_rate=RATE, return_tensors="pt", truncation=False, padding="longest",
        return_attention_mask=True,
    )  # fmt: skip
    found = model.generate(**inputs, language="en", task="transcribe", return_timestamps=True, return_segments=True)
    answer = ask(models["whisper"], sound(LONG), language="en", return_timestamps=True)
    starts = {round(float(segment["start"]), 2) for segment in found["segments"][0]}
    assert {segment.start for segment in answer.segments} <= starts
    assert len(answer.segments) > 1
    assert answer.plain()["chunks"][0] == {
        "text": answer.segments[0].text,
        "timestamp": [answer.segments[0].start, answer.segments[0].end],
    }
    assert all(segment.start < answer.duration and segment.end <= answer.duration for segment in answer.segments)


def test_how_sure_whisper_was_is_the_mean_of_its_tokens_log_probabilities(
    models: dict[str, Loaded], folders: dict[str, Path]
) -> None:

    model = part(folders["whisper"], "WhisperForConditionalGeneration")
    extractor = part(folders["whisper"], "AutoFeatureExtractor")
    inputs = extractor(chirp(SHORT), sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
    out = model.generate(
        **inputs, language="en", task="transcribe", return_timestamps=True, output_scores=True,
        return_dict_in_generate=True,
    )["segments"][0][0]["result"]  # fmt: skip
    chosen = out["sequences"][-len(out["scores"]) :].tolist()
    if chosen[-1] == model.generation_config.eos_token_id:
        chosen = chosen[:-1]
    expected = np.mean([float(s.log_softmax(-1)[t]) for s, t in zip(out["scores"], chosen, strict=False)])
    answer = ask(models["whisper"], sound(SHORT), language="en", return_timestamps=True)
    assert answer.segments[0].avg_logprob == pytest.approx(expected, abs=1e-4)


def test_the_language_is_detected_for_each_recording(models: dict[str, Loaded]) -> None:
    network = models["whisper"].adapters["automatic-speech-recognition"]
    answers = ask(models["whisper"], [sound(SHORT, seed) for seed in range(4)])
    assert {answer.language for answer in answers} <= set(audio.LANGUAGES)
    assert all(answer.language_name for answer in answers)
    assert network.takes_media


@pytest.mark.parametrize("parameters", [{}, {"return_timestamps": True}, {"return_timestamps": "word"}])
def test_recordings_together_equal_one_by_one_whatever_their_lengths(
    models: dict[str, Loaded], parameters: dict[str, Any]
) -> None:
    sounds = [sound(seconds, seed) for seed, seconds in enumerate((0.4, SHORT, 2.0, 3.1, LONG))]
    together = ask(models["whisper"], sounds, **parameters)
    for one, answer in zip(sounds, together, strict=True):
        alone = ask(models["whisper"], one, **parameters)
        assert close(answer) == close(alone)


def close(transcript: Transcript) -> Any:
    """To be compared: log probabilities differ in their last digits."""
    segments = tuple(
        dataclasses.replace(s, avg_logprob=None if s.avg_logprob is None else round(s.avg_logprob, 4))
        for s in transcript.segments
    )
    return dataclasses.replace(transcript, segments=segments)


def test_a_prompt_comes_before_what_is_heard(models: dict[str, Loaded], folders: dict[str, Path]) -> None:

    model = part(folders["whisper"], "WhisperForConditionalGeneration")
    extractor = part(folders["whisper"], "AutoFeatureExtractor")
    tokenizer = part(folders["whisper"], "AutoTokenizer")
    features = extractor(chirp(SHORT), sampling_rate=RATE, return_tensors="pt").input_features
    prompt = tokenizer.get_prompt_ids("a house", return_tensors="pt")
    ids = model.generate(features, language="en", task="transcribe", prompt_ids=prompt)
    answer = ask(models["whisper"], sound(SHORT), language="en", prompt="a house")
    assert answer.text == tokenizer.decode(ids[0], skip_special_tokens=True)
    long = ask(models["whisper"], sound(SHORT), language="en", prompt="word " * 200)
    assert long.text  # its end is what fits


def test_words_leave_the_models_attention_as_it_was(models: dict[str, Loaded]) -> None:
    before = ask(models["whisper"], sound(SHORT), language="en")
    ask(models["whisper"], sound(SHORT), language="en", return_timestamps="word")
    recognizer: Any = models["whisper"].adapters["automatic-speech-recognition"]
    assert recognizer._recognizer._model.config._attn_implementation == "sdpa"
    assert ask(models["whisper"], sound(SHORT), language="en") == before


def test_a_recording_that_nobody_waits_for_is_given_up(models: dict[str, Loaded]) -> None:
    from slipway_runtime.serve.inference.batcher import run_batch

    adapter = models["whisper"].adapters["automatic-speech-recognition"]
    items = adapter.preprocess(adapter.parse(sound(LONG), adapter.parameters(return_timestamps=True)))
    items[0].listener.gone = True
    [output] = run_batch(items)
    assert output.output.phrases == ()


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        (
            "whisper",
            {"language": "klingon"},
            "parameters.language: is 'klingon'; this model's languages are de, en, fr, ja",
        ),
        ("whisper", {"return_timestamps": "char"}, "parameters.return_timestamps: must be true or word"),
        ("whisper", {"chunk_length_s": 30}, "parameters.chunk_length_s: Whisper finds its own windows"),
        ("whisper", {"prompt": "<|endoftext|> x"}, "parameters.prompt: must not have special tokens"),
        (
            "whisper",
            {"generation_parameters": {"max_new_tokens": 500}},
            "parameters.generation_parameters.max_new_tokens: is 500, at most 44 fit",
        ),
        (
            "whisper",
            {"generation_parameters": {"num_beam_groups": 2}},
            "parameters.generation_parameters.num_beam_groups: unknown parameter (did you mean num_beams?)",
        ),
        (
            "whisper",
            {"language": "en", "generate_kwargs": {"language": "de"}},
            "parameters.generate_kwargs.language: is given twice",
        ),
        ("english", {"language": "fr"}, "parameters.language: is 'fr', but this model knows English only"),
        ("english", {"generate_kwargs": {"task": "translate"}}, "parameters.task: must be transcribe"),
        ("ctc", {"language": "en"}, "parameters.language: this model writes down what it hears"),
        ("ctc", {"return_timestamps": True}, "parameters.return_timestamps: must be word or char"),
        ("ctc", {"stride_length_s": 1}, "parameters.stride_length_s: means nothing without chunk_length_s"),
        (
            "ctc",
            {"chunk_length_s": 1, "stride_length_s": [0.5, 0.5]},
            "parameters.stride_length_s: is 0.5 s and 0.5 s, together they must be less",
        ),
        ("ctc", {"generation_parameters": {"num_beams": 2}}, "parameters.num_beams: this model writes down"),
        ("moonshine", {"return_timestamps": True}, "parameters.return_timestamps: this model has no timestamps"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    models: dict[str, Loaded], model: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        ask(models[model], sound(0.5), **parameters)
    assert error.value.message.startswith(message)


def test_an_english_only_whisper_takes_english_by_name(models: dict[str, Loaded]) -> None:
    answer = ask(models["english"], sound(SHORT), language="English")
    assert answer == ask(models["english"], sound(SHORT))
    assert (answer.language, answer.language_name) == ("en", "english")


# CTC


@pytest.mark.parametrize("model", ["ctc", "group"])
@pytest.mark.parametrize(
    "parameters", [{}, {"chunk_length_s": 2.0}, {"chunk_length_s": 1.5, "stride_length_s": [0.4, 0.2]}]
)
def test_ctc_writes_what_transformers_pipeline_writes(
    models: dict[str, Loaded], pipelines: Any, model: str, parameters: dict[str, Any]
) -> None:
    stride = parameters.get("stride_length_s")
    expected = pipelines[model](array(4.3), **parameters | ({"stride_length_s": tuple(stride)} if stride else {}))
    assert ask(models[model], sound(4.3), **parameters).plain() == {"text": expected["text"]}
    assert len(expected["text"]) > 5


@pytest.mark.parametrize("granularity", ["word", "char"])
def test_ctc_places_words_and_characters_as_transformers_pipeline(
    models: dict[str, Loaded], pipelines: Any, granularity: str
) -> None:
    expected = pipelines["ctc"](array(3.0), return_timestamps=granularity)
    answer = ask(models["ctc"], sound(3.0), return_timestamps=granularity).plain()
    assert answer["text"] == expected["text"]
    assert [(c["text"], tuple(c["timestamp"])) for c in answer["chunks"]] == [
        (c["text"], c["timestamp"]) for c in expected["chunks"]
    ]


@pytest.mark.parametrize("model", ["ctc", "group"])
def test_ctc_recordings_together_equal_one_by_one(models: dict[str, Loaded], model: str) -> None:
    sounds = [sound(seconds, seed) for seed, seconds in enumerate((0.3, 1.0, 2.2, 2.2))]
    assert ask(models[model], sounds) == [ask(models[model], one) for one in sounds]


def test_a_long_recording_is_heard_in_windows_of_thirty_seconds(models: dict[str, Loaded], pipelines: Any) -> None:
    expected = pipelines["ctc"](array(34.0), chunk_length_s=30.0)
    answer = ask(models["ctc"], sound(34.0))
    assert answer.text == expected["text"]
    assert answer.duration == pytest.approx(34.0)


def test_a_weight_that_only_training_looks_at_may_be_missing(
    models: dict[str, Loaded], folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["ctc"], tmp_path / "published"))
    weights = load_file(folder / "model.safetensors")
    del weights["wav2vec2.masked_spec_embed"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert ask(load(folder), sound(1.0)) == ask(models["ctc"], sound(1.0))


# Others


@pytest.mark.parametrize(
    ("model", "architecture"),
    [("moonshine", "MoonshineForConditionalGeneration"), ("speech2text", "Speech2TextForConditionalGeneration")],
)
def test_other_models_write_what_their_generate_writes(
    models: dict[str, Loaded], folders: dict[str, Path], model: str, architecture: str
) -> None:
    direct = part(folders[model], architecture)
    extractor, tokenizer = part(folders[model], "AutoFeatureExtractor"), part(folders[model], "AutoTokenizer")
    sounds = [sound(seconds, seed) for seed, seconds in enumerate((0.8, SHORT, SHORT))]
    expected = []
    for seed, seconds in enumerate((0.8, SHORT, SHORT)):
        inputs = extractor(chirp(seconds, seed=seed), sampling_rate=RATE, return_tensors="pt")
        expected.append(tokenizer.decode(direct.generate(**inputs)[0], skip_special_tokens=True))
    assert [answer.text for answer in ask(models[model], sounds)] == expected
    assert any(expected)


def test_a_recording_longer_than_such_a_model_takes_is_refused(models: dict[str, Loaded]) -> None:
    with pytest.raises(InvalidInput, match=r"inputs: has 61\.0 s of sound, this model takes 60 s; send it in parts"):
        ask(models["moonshine"], sound(61.0))


def test_the_limit_on_seconds_is_the_servers(folders: dict[str, Path]) -> None:
    loaded = load(folders["ctc"], limits=Limits(max_audio_seconds=1.0))
    with pytest.raises(InvalidInput, match="at most 1 s are allowed"):
        ask(loaded, sound(1.5))
