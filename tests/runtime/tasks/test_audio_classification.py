"""audio-classification against the models' own forwards and transformers' pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Loaded

from tests.support.asking import ask, load
from tests.support.sounds import RATE, chirp, encoded
from tests.support.tiny import audio

# AST's window is fixed and so is Whisper's; Wav2Vec2 with a group norm hears padding, with a layer norm it does not.
KINDS: dict[str, Callable[[Path], Path]] = {
    "wav2vec2": audio.classifier,
    "group": lambda folder: audio.classifier(folder, norm="group"),
    "ast": audio.spectrogram_classifier,
    "whisper": audio.whisper_classifier,
}
KIND = pytest.mark.parametrize("kind", KINDS)


def sound(seconds: float, seed: int = 0) -> bytes:
    return encoded(chirp(seconds, seed=seed), subtype="FLOAT")


def scores(answer: Any) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in answer}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classifiers")
    return {name: make(root / name) for name, make in KINDS.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Loaded]:
    return {name: load(folder) for name, folder in folders.items()}


@KIND
def test_a_recording_gets_the_scores_of_a_direct_forward(
    models: dict[str, Loaded], folders: dict[str, Path], kind: str
) -> None:
    import torch
    import transformers

    library: Any = transformers
    model = library.AutoModelForAudioClassification.from_pretrained(folders[kind])
    inputs = library.AutoFeatureExtractor.from_pretrained(folders[kind])(
        chirp(1.2), sampling_rate=RATE, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = model(**inputs).logits[0].softmax(-1).tolist()
    answer = ask(models[kind], sound(1.2), top_k=7)
    assert scores(answer) == pytest.approx(dict(zip(audio.LABELS, expected, strict=True)), abs=1e-4)
    assert [e["score"] for e in answer] == sorted((e["score"] for e in answer), reverse=True)
    assert max(expected) > 1.2 / 7  # not the same for all


@KIND
@pytest.mark.parametrize("function", [None, "sigmoid", "softmax", "none"])
def test_five_labels_as_transformers_pipeline_gives_them(
    models: dict[str, Loaded], folders: dict[str, Path], kind: str, function: str | None
) -> None:
    from transformers import pipeline

    given: dict[str, Any] = {"function_to_apply": function} if function else {}
    classify: Any = pipeline("audio-classification", model=str(folders[kind]))
    expected = classify({"array": chirp(1.0), "sampling_rate": RATE}, top_k=5, **given)
    answer = ask(models[kind], sound(1.0), **given)
    assert [entry["label"] for entry in answer] == [entry["label"] for entry in expected]
    np.testing.assert_allclose([e["score"] for e in answer], [e["score"] for e in expected], atol=1e-4)
    assert len(answer) == 5


@KIND
def test_recordings_together_equal_one_by_one_whatever_their_lengths(models: dict[str, Loaded], kind: str) -> None:
    sounds = [sound(seconds, seed) for seed, seconds in enumerate((0.2, 1.0, 1.25, 0.55, 1.0))]
    for one, answer in zip(sounds, ask(models[kind], sounds, top_k=7), strict=True):
        assert scores(answer) == pytest.approx(scores(ask(models[kind], one, top_k=7)), abs=1e-5)


@pytest.mark.parametrize(("kind", "takes"), [("ast", 1.28), ("whisper", 2), ("wav2vec2", 60)])
def test_a_long_recording_is_cut_only_when_asked(models: dict[str, Loaded], kind: str, takes: float) -> None:
    long = sound(takes + 0.5)
    with pytest.raises(InvalidInput) as error:
        ask(models[kind], long)
    assert error.value.message == (
        f"inputs: has {takes + 0.5:.2f} s of sound, the model takes {takes:g} s; shorten it, or set truncate to true"
    )
    if kind != "wav2vec2":
        cut = encoded(chirp(takes + 0.5)[: int(takes * RATE)], subtype="FLOAT")
        assert ask(models[kind], long, truncate=True) == ask(models[kind], cut)
        assert ask(models[kind], long, truncation=True) == ask(models[kind], cut)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"top_k": 0}, "parameters.top_k"),
        ({"function_to_apply": "relu"}, "parameters.function_to_apply"),
        ({"topk": 1}, "parameters.topk: unknown parameter (did you mean top_k?)"),
    ],
)
def test_bad_parameters_are_refused(models: dict[str, Loaded], parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        ask(models["wav2vec2"], sound(0.3), **parameters)
    assert error.value.message.startswith(message)


def test_a_text_classifiers_name_does_not_mislead() -> None:
    from slipway_runtime.tasks.detect import capabilities

    for name, kind in (("Wav2Vec2ForSequenceClassification", "wav2vec2"), ("WhisperForAudioClassification", "whisper")):
        assert capabilities({"architectures": [name], "model_type": kind}, ()) == ("audio-classification",)
