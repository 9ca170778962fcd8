"""text-to-speech against the models' own forwards and transformers' pipeline."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Limits, Loaded, Media

from tests.support.asking import ask, load
from tests.support.tiny import audio

TEXT = "the sun and the rain"
SEED = 7
STEP = 1 / 32768  # of a wav with 16 bits


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("voices")
    return {
        "vits": audio.vits(root / "vits"),
        "many": audio.vits(root / "many", speakers=3),
        "musicgen": audio.musicgen(root / "musicgen"),
    }


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Loaded]:
    return {name: load(folder) for name, folder in folders.items()}


def samples(media: Media) -> Any:
    read, _ = soundfile.read(io.BytesIO(media.content), dtype="float32")
    return read


def refusal(loaded: Loaded, inputs: Any, **parameters: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        ask(loaded, inputs, **parameters)
    return error.value.message


def test_vits_says_what_its_own_forward_says(models: dict[str, Loaded], folders: dict[str, Path]) -> None:
    import torch
    from transformers import AutoTokenizer, VitsModel

    model: Any = VitsModel.from_pretrained(folders["vits"])
    inputs = AutoTokenizer.from_pretrained(folders["vits"])(TEXT, return_tensors="pt")
    torch.manual_seed(SEED)
    with torch.inference_mode():
        expected = model(**inputs).waveform[0].numpy()
    answer = ask(models["vits"], TEXT, seed=SEED)
    assert answer.type == "audio/wav"
    np.testing.assert_allclose(samples(answer), np.clip(expected, -1, 1), atol=2 * STEP)
    assert np.abs(expected).max() > 20 * STEP


def test_vits_says_what_transformers_pipeline_says(models: dict[str, Loaded], folders: dict[str, Path]) -> None:
    import torch
    from transformers import pipeline

    speak = pipeline("text-to-audio", model=str(folders["vits"]))
    torch.manual_seed(SEED)
    expected = speak(TEXT)
    answer = ask(models["vits"], TEXT, seed=SEED)
    np.testing.assert_allclose(samples(answer), np.clip(np.ravel(expected["audio"]), -1, 1), atol=2 * STEP)
    assert soundfile.info(io.BytesIO(answer.content)).samplerate == expected["sampling_rate"]


def test_without_a_seed_each_answer_differs_and_with_one_it_is_the_same(models: dict[str, Loaded]) -> None:
    assert ask(models["vits"], TEXT) != ask(models["vits"], TEXT)
    assert ask(models["vits"], TEXT, seed=1) == ask(models["vits"], TEXT, seed=1)
    assert ask(models["vits"], TEXT, seed=1) != ask(models["vits"], TEXT, seed=2)


def test_a_text_sounds_the_same_in_any_company(models: dict[str, Loaded]) -> None:
    from slipway_runtime.serve.inference.batcher import run_batch

    adapter = models["vits"].adapters["text-to-speech"]
    calls = [adapter.parse(text, adapter.parameters(seed=SEED)) for text in ("rain", TEXT, "a")]
    outputs = run_batch([item for call in calls for item in adapter.preprocess(call)])
    for call, output in zip(calls, outputs, strict=True):
        assert adapter.postprocess(call, [output]) == ask(models["vits"], call.inputs, seed=SEED)


def test_a_slower_voice_takes_longer_and_voices_differ(models: dict[str, Loaded]) -> None:
    usual, slow = (ask(models["vits"], TEXT, seed=SEED, speaking_rate=rate) for rate in (1.0, 0.5))
    assert len(samples(slow)) > 1.3 * len(samples(usual))
    assert len({ask(models["many"], TEXT, seed=SEED, speaker_id=i).content for i in range(3)}) == 3
    assert ask(models["many"], TEXT, seed=SEED) == ask(models["many"], TEXT, seed=SEED, speaker_id=0)


@pytest.mark.parametrize(
    ("name", "media_type", "magic"),
    [("wav", "audio/wav", b"RIFF"), ("flac", "audio/flac", b"fLaC"), ("ogg", "audio/ogg", b"OggS")],
)
def test_the_answer_is_a_file_of_the_format_asked_for(
    models: dict[str, Loaded], name: str, media_type: str, magic: bytes
) -> None:
    answer = ask(models["vits"], TEXT, seed=SEED, format=name)
    assert (answer.type, answer.content[:4]) == (media_type, magic)
    assert len(samples(answer)) == len(samples(ask(models["vits"], TEXT, seed=SEED)))


def test_an_mp3_can_be_played(models: dict[str, Loaded]) -> None:
    answer = ask(models["vits"], TEXT * 4, seed=SEED, format="mp3")
    assert answer.type == "audio/mpeg"
    assert len(samples(answer)) > 0


def test_musicgen_plays_what_its_own_generate_plays(models: dict[str, Loaded], folders: dict[str, Path]) -> None:
    import torch
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model: Any = MusicgenForConditionalGeneration.from_pretrained(folders["musicgen"])
    inputs = AutoTokenizer.from_pretrained(folders["musicgen"])(TEXT, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    torch.manual_seed(SEED)
    with torch.inference_mode():
        expected = model.generate(**inputs, max_new_tokens=16)[0, 0].numpy()
    answer = ask(models["musicgen"], TEXT, seed=SEED, generation_parameters={"max_new_tokens": 16})
    np.testing.assert_allclose(samples(answer), np.clip(expected, -1, 1), atol=2 * STEP)
    greedy = {"max_new_tokens": 16, "do_sample": False, "guidance_scale": 1.0}
    assert ask(models["musicgen"], TEXT, generate_kwargs=greedy) == ask(
        models["musicgen"], TEXT, generate_kwargs=greedy
    )


@pytest.mark.parametrize(
    ("model", "inputs", "parameters", "message"),
    [
        ("vits", "", {}, "inputs: is empty"),
        ("vits", ["a", "b"], {}, "inputs: must be a string, got a list; one recording is one request"),
        ("vits", 3, {}, "inputs: must be a string, got a number"),
        ("vits", "日本", {}, "inputs: has no character that this model can say"),
        ("vits", "rain " * 300, {}, "inputs: has 2999 tokens, the model takes 2000; shorten it"),
        ("vits", "rain " * 20_000, {}, "inputs: has 100000 characters, far more than the model takes"),
        ("vits", TEXT, {"format": "midi"}, "parameters.format"),
        ("vits", TEXT, {"speaker_id": 1}, "parameters.speaker_id: is 1; this model's are 0 to 0"),
        ("many", TEXT, {"speaker_id": 3}, "parameters.speaker_id: is 3; this model's are 0 to 2"),
        (
            "vits",
            TEXT,
            {"generation_parameters": {"do_sample": True}},
            "parameters.generation_parameters: this model speaks in one go",
        ),
        ("musicgen", TEXT, {"speaker_id": 0}, "parameters.speaker_id: this model does not speak"),
        (
            "musicgen",
            TEXT,
            {"generation_parameters": {"max_new_tokens": 999}},
            "parameters.generation_parameters.max_new_tokens: is 999, at most 126 are allowed",
        ),
    ],
)
def test_bad_input_is_refused_with_its_field(
    models: dict[str, Loaded], model: str, inputs: Any, parameters: dict[str, Any], message: str
) -> None:
    assert refusal(models[model], inputs, **parameters).startswith(message)


def test_a_lower_limit_on_tokens_is_the_servers(folders: dict[str, Path]) -> None:
    loaded = load(folders["vits"], limits=Limits(max_input_tokens=10))
    assert refusal(loaded, "sun and rain") == "inputs: has 25 tokens, the model takes 10; shorten it"


def test_a_model_without_its_vocoder_is_refused_with_the_reason(tmp_path: Path, folders: dict[str, Path]) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(folders["vits"], tmp_path / "speecht5"))
    config = {"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFault, match="writes spectrograms; the vocoder that makes sound of them"):
        load(folder)
