"""The table of detection against transformers' own: which architecture is for which task."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_runtime.tasks.detect import capabilities
from slipway_runtime.tasks.table import TASKS

# Mapping of transformers.models.auto.modeling_auto → the task, and the model types in it that are not served for it.
MAPPINGS: dict[str, tuple[str, set[str]]] = {
    "SEQUENCE_CLASSIFICATION": ("text-classification", {"tapas"}),  # about tables
    "TOKEN_CLASSIFICATION": ("token-classification", set()),
    "QUESTION_ANSWERING": ("question-answering", {"layoutlmv2", "layoutlmv3"}),  # about documents, see below
    "DOCUMENT_QUESTION_ANSWERING": ("document-question-answering", set()),
    "VISUAL_QUESTION_ANSWERING": ("visual-question-answering", {"blip-2"}),  # image-text-to-text by its config
    "TABLE_QUESTION_ANSWERING": ("table-question-answering", set()),
    "MASKED_LM": ("fill-mask", {"bart", "mbart", "mvp"}),  # served as the text-to-text models that they are
    "IMAGE_CLASSIFICATION": ("image-classification", {"perceiver"}),
    "OBJECT_DETECTION": ("object-detection", set()),
    "ZERO_SHOT_OBJECT_DETECTION": ("zero-shot-object-detection", {"omdet-turbo"}),
    "ZERO_SHOT_IMAGE_CLASSIFICATION": (
        "zero-shot-image-classification",
        {"blip", "blip-2", "clipseg", "tipsv2", "videoprism"},
    ),
    "IMAGE_SEGMENTATION": ("image-segmentation", set()),
    "SEMANTIC_SEGMENTATION": ("image-segmentation", set()),
    "INSTANCE_SEGMENTATION": ("image-segmentation", set()),
    "UNIVERSAL_SEGMENTATION": ("image-segmentation", set()),
    "DEPTH_ESTIMATION": ("depth-estimation", set()),
    "CTC": ("automatic-speech-recognition", set()),
    "AUDIO_CLASSIFICATION": ("audio-classification", set()),
    "CAUSAL_LM": (
        "text-generation",
        # With images or sound, or for masks; and two heads of old that are not named as the others are.
        {"gemma3", "gemma3n", "gemma4", "gemma4_unified", "git", "got_ocr2", "moss_transcribe_diarize", "xlm",
         "bert-generation", "reformer"},
    ),
}  # fmt: skip
# Few of these mappings' models are served, each by a row of its own; many others hear, see or draw as well.
SERVED: dict[str, tuple[str, set[str]]] = {
    "SPEECH_SEQ_2_SEQ": ("automatic-speech-recognition", {"whisper", "speech_to_text", "moonshine"}),
    "MASK_GENERATION": ("mask-generation", {"sam", "sam2", "sam2_video", "sam_hq"}),
    # Those that are known and not served have their reason in the task's own refusal.
    "TEXT_TO_WAVEFORM": ("text-to-speech", {"vits", "bark", "musicgen", "seamless_m4t", "seamless_m4t_v2"}),
    "SEQ_TO_SEQ_CAUSAL_LM": (
        "text2text-generation",
        {"bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "fsmt", "led", "longt5", "m2m_100", "marian",
         "mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "switch_transformers", "t5",
         "t5gemma", "umt5"},
    ),
}  # fmt: skip


def architectures(mapping: str) -> Iterator[tuple[str, str]]:
    """(model type, architecture)"""
    from transformers.models.auto import modeling_auto

    names: dict[str, Any] = getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES")
    for model_type, named in names.items():
        for name in (named,) if isinstance(named, str) else named:
            yield model_type, name


def found(model_type: str, architecture: str) -> tuple[str, ...]:
    return capabilities({"architectures": [architecture], "model_type": model_type}, ())


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_architecture_that_transformers_has_for_a_task_is_known_for_it(mapping: str) -> None:
    task, not_served = MAPPINGS[mapping]
    known = {(kind, name): task in found(kind, name) for kind, name in architectures(mapping)}
    missing = {(kind, name) for (kind, name), is_known in known.items() if not is_known and kind not in not_served}
    assert not missing, f"not known for {task}"
    stale = {kind for (kind, _), is_known in known.items() if is_known} & not_served
    assert not stale, f"known for {task}, though listed as not served"


@pytest.mark.parametrize("mapping", SERVED)
def test_those_that_are_served_are_in_the_mapping_and_no_other_is_known(mapping: str) -> None:
    task, served = SERVED[mapping]
    known = {kind for kind, name in architectures(mapping) if task in found(kind, name)}
    assert known == served


def test_models_that_see_and_write_are_known_by_their_config() -> None:
    for kind, name in architectures("IMAGE_TEXT_TO_TEXT"):
        if name.endswith(("ForConditionalGeneration", "ForImageTextToText")) and kind != "blip":
            config = {"architectures": [name], "model_type": kind, "vision_config": {}}
            assert capabilities(config, ())[0] == "image-text-to-text", name


@pytest.mark.parametrize(
    ("architecture", "more", "tasks"),
    [
        # As the Hub's cards have them: facebook/bart-large-mnli, cross-encoder/ms-marco-MiniLM-L6-v2, a reward model.
        ("BartForSequenceClassification", {"id2label": {"2": "entailment", "0": "contradiction"}},
         ("zero-shot-classification", "text-classification")),
        ("BertForSequenceClassification", {"id2label": {"0": "LABEL_0"}, "sentence_transformers": {}},
         ("text-ranking", "text-classification")),
        ("BertForSequenceClassification", {"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": "x"},
         ("text-ranking", "text-classification")),
        ("LlamaForSequenceClassification", {"id2label": {"0": "LABEL_0"}}, ("text-classification", "text-ranking")),
        ("BertForSequenceClassification", {}, ("text-classification",)),
        ("Wav2Vec2ForSequenceClassification", {"model_type": "wav2vec2"}, ("audio-classification",)),
        # A head decides, whatever else models of the type are for.
        ("BartForQuestionAnswering", {"model_type": "bart"}, ("question-answering",)),
        ("T5ForTokenClassification", {"model_type": "t5"}, ("token-classification",)),
        ("WhisperForAudioClassification", {"model_type": "whisper"}, ("audio-classification",)),
        ("ElectraForPreTraining", {}, ("feature-extraction",)),
        ("Wav2Vec2ForPreTraining", {"model_type": "wav2vec2"}, ()),
        # Vectors are of texts.
        ("ModernBertModel", {}, ("feature-extraction",)),
        ("ViTModel", {"image_size": 224}, ()),
        ("Wav2Vec2Model", {"conv_dim": [512]}, ()),
        ("EncoderDecoderModel", {"encoder": {}}, ()),
    ],
)  # fmt: skip
def test_what_else_the_config_says_decides(architecture: str, more: dict[str, Any], tasks: tuple[str, ...]) -> None:
    assert capabilities({"architectures": [architecture], **more}, ()) == tasks


def test_every_task_of_the_mappings_has_its_own_name() -> None:
    named = {task for task, _ in (MAPPINGS | SERVED).values()}
    assert {task for task in named if task not in TASKS} <= {"text-generation", "text2text-generation"}


def test_detection_costs_no_import_of_torch() -> None:
    code = "import slipway_runtime.tasks.detect, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
