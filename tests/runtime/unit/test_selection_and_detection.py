"""Which files are fetched, which task a model is for."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_runtime.artifacts.selection import select
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.detect import capabilities, choose_task
from slipway_runtime.tasks.table import TASKS

TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]


def test_only_descriptions_and_safetensors_are_chosen() -> None:
    rubbish = [
        "docs/README.md", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "handler.py", "model.fp16.safetensors",
        "requirements.txt", "training_args.bin", "../x.json", "openvino/config.json", "a/model.safetensors",
    ]  # fmt: skip
    found = select(["config.json", "README.md", *TOKENIZER, "model.safetensors", *rubbish], "org/name")
    assert set(found.descriptions) == {"config.json", "README.md", *TOKENIZER}
    assert found.weights == ("model.safetensors",)


def test_a_single_file_wins_over_shards() -> None:
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "model.safetensors.index.json"
    assert select(["config.json", index, *shards], "m").weights == tuple(shards)
    assert index in select(["config.json", index, *shards], "m").descriptions
    assert select(["config.json", index, *shards, "model.safetensors"], "m").weights == ("model.safetensors",)


def test_modules_of_sentence_transformers_come_along() -> None:
    names = ["config.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
             "2_Dense/pytorch_model.bin", "config_sentence_transformers.json",
             "sentence_bert_config.json", "model.safetensors"]  # fmt: skip
    found = select(names, "m")
    assert set(found.descriptions + found.weights) == set(names) - {"2_Dense/pytorch_model.bin"}


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        (["config.json", "pytorch_model.bin"], "UnsafeFormat", "only as pickle (pytorch_model.bin)"),
        (["config.json", "2_Dense/model.safetensors", "model.pt"], "UnsafeFormat", "only as pickle (model.pt)"),
        (["config.json"], "ModelCorrupt", "no other weights"),
        (["model.safetensors"], "ModelCorrupt", "has no config.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "BadConfiguration", "name its base model"),
    ],
)
def test_what_cannot_be_served_is_said(files: list[str], reason: str, words: str) -> None:
    with pytest.raises(ModelFault) as caught:
        select(files, "org/name@main")
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert "org/name@main" in caught.value.message


def config(architecture: str) -> dict[str, Any]:
    return {"architectures": [architecture]}


@pytest.mark.parametrize(
    ("architecture", "modules", "task"),
    [
        ("BertForSequenceClassification", (), "text-classification"),
        ("RobertaForMaskedLM", (), "fill-mask"),
        ("BertForPreTraining", (), "fill-mask"),
        ("BertModel", (), "feature-extraction"),
        ("BertModel", ("Transformer", "Pooling", "Normalize"), "feature-extraction"),
    ],
)
def test_the_task_is_found_from_the_files(architecture: str, modules: tuple[str, ...], task: str) -> None:
    assert choose_task("", config(architecture), modules, "m") == task


@pytest.mark.parametrize(
    ("found", "tasks"),
    [
        ({"architectures": ["BlipForQuestionAnswering"], "model_type": "blip"}, ("visual-question-answering",)),
        ({"architectures": ["BlipForConditionalGeneration"], "model_type": "blip"}, ("image-to-text",)),
        ({"architectures": ["GitForCausalLM"], "model_type": "git"}, ("image-to-text",)),
        ({"architectures": ["ViltForQuestionAnswering"], "model_type": "vilt"}, ("visual-question-answering",)),
        (
            {"architectures": ["LayoutLMForQuestionAnswering"], "model_type": "layoutlm"},
            ("document-question-answering",),
        ),
        (
            {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "vision_config": {}},
            ("image-text-to-text", "image-to-text"),
        ),
        (
            {
                "architectures": ["VisionEncoderDecoderModel"],
                "model_type": "vision-encoder-decoder",
                "encoder": {"model_type": "donut-swin"},
            },
            ("document-question-answering", "image-to-text"),
        ),
        (
            {
                "architectures": ["VisionEncoderDecoderModel"],
                "model_type": "vision-encoder-decoder",
                "encoder": {"model_type": "vit"},
            },
            ("image-to-text",),
        ),
        ({"_class_name": "FluxPipeline"}, ("text-to-image",)),
        ({"_class_name": "StableVideoDiffusionPipeline"}, ()),
    ],
)
def test_models_that_join_images_and_text_are_told_apart(found: dict[str, Any], tasks: tuple[str, ...]) -> None:
    assert capabilities(found, ()) == tasks


@pytest.mark.parametrize(
    ("wanted", "architecture", "task"),
    [
        ("sentiment-analysis", "BertForSequenceClassification", "text-classification"),
        ("feature-extraction", "BertForMaskedLM", "feature-extraction"),
    ],
)
def test_an_alias_or_a_second_task_may_be_asked_for(wanted: str, architecture: str, task: str) -> None:
    assert choose_task(wanted, config(architecture), (), "m") == task


@pytest.mark.parametrize(
    ("wanted", "found", "words"),
    [
        ("fill-mask", config("BertForSequenceClassification"), "cannot do fill-mask: it can do text-classification"),
        ("sentence-similarity", config("BertModel"), "it can do feature-extraction"),
        ("painting", config("BertModel"), "task 'painting' is not known to this runtime, which serves "),
        ("", config("Nonsense"), "no task is known for this architecture"),
        ("", {}, "no architecture in config.json"),
        ("", {"architectures": "BertModel"}, "no task is known"),
    ],
)
def test_a_task_that_the_model_cannot_do_is_refused_with_those_that_it_can(
    wanted: str, found: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelFault) as caught:
        choose_task(wanted, found, (), "org/name")
    assert caught.value.reason == "TaskNotSupported"
    assert words in caught.value.message


def test_a_model_for_a_task_that_is_not_served_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TASKS, "token-classification")
    with pytest.raises(ModelFault, match="it is a model for token-classification, which this runtime does not serve"):
        choose_task("", config("BertForTokenClassification"), (), "org/name")
