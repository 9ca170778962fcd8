"""feature-extraction: per token for a plain encoder, pooled for a sentence-transformers model; its parameters."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient

from tests.runtime.conftest import PROMPTS
from tests.support.runtime_server import RuntimeServer

TEXT = "the cat loves the dog"
LONG = "very good film " * 40


@pytest.fixture(scope="module")
def model(direct: Any) -> Any:
    return direct("tiny/sentences", "AutoModel")


def mean(model: Any, text: str) -> Any:
    """Mean pooling by hand, unpadded: [width]."""
    return model(text).last_hidden_state[0].mean(0).numpy()


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def test_a_plain_encoder_gives_a_vector_per_token(encoder: RuntimeServer, direct: Any) -> None:
    answer = InferenceClient(model=encoder.url).feature_extraction(TEXT)
    expected = direct("tiny/encoder", "AutoModel")(TEXT).last_hidden_state[0].numpy()
    assert answer.shape == expected.shape
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_a_list_for_a_plain_encoder_gives_its_own_number_of_tokens_each(encoder: RuntimeServer, direct: Any) -> None:
    texts = ["rain", TEXT]
    plain = direct("tiny/encoder", "AutoModel")
    for answer, text in zip(encoder.post({"inputs": texts}).json(), texts, strict=True):
        np.testing.assert_allclose(np.array(answer), plain(text).last_hidden_state[0].numpy(), atol=1e-4)


def test_a_plain_encoder_refuses_long_texts_unless_told_to_cut(encoder: RuntimeServer) -> None:
    assert encoder.post({"inputs": LONG}).status_code == 422
    assert len(encoder.post({"inputs": LONG, "truncate": True}).json()) == 64


def test_a_sentence_model_pools_and_normalizes_as_its_modules_say(sentences: RuntimeServer, model: Any) -> None:
    answer = InferenceClient(model=sentences.url).feature_extraction(TEXT)
    np.testing.assert_allclose(answer, unit(mean(model, TEXT)), atol=1e-4)


def test_a_list_gives_a_vector_each_equal_to_one_by_one_whatever_the_padding(
    sentences: RuntimeServer, model: Any
) -> None:
    texts = ["rain", TEXT, "the river of paris is not small , it is very big ."]
    answer = InferenceClient(model=sentences.url).feature_extraction(texts)
    np.testing.assert_allclose(answer, [unit(mean(model, text)) for text in texts], atol=1e-4)


def test_normalize_false_leaves_the_length(sentences: RuntimeServer, model: Any) -> None:
    answer = InferenceClient(model=sentences.url).feature_extraction(TEXT, normalize=False)
    np.testing.assert_allclose(answer, mean(model, TEXT), atol=1e-4)


def test_dimensions_cut_and_normalize_again(sentences: RuntimeServer, model: Any) -> None:
    answer = InferenceClient(model=sentences.url).feature_extraction(TEXT, dimensions=8)
    np.testing.assert_allclose(answer, unit(mean(model, TEXT)[:8]), atol=1e-4)
    refused = sentences.post({"inputs": TEXT, "dimensions": 33})
    assert (refused.status_code, refused.json()["error"]) == (
        422,
        "parameters.dimensions: 33 is more than the model's 32 dimensions",
    )


def test_a_prompt_is_put_before_the_text(sentences: RuntimeServer, model: Any) -> None:
    answer = InferenceClient(model=sentences.url).feature_extraction("paris", prompt_name="query")
    np.testing.assert_allclose(answer, unit(mean(model, PROMPTS["query"] + "paris")), atol=1e-4)
    refused = sentences.post({"inputs": "paris", "prompt_name": "answer"})
    assert (refused.status_code, refused.json()["error"]) == (
        422,
        "parameters.prompt_name: 'answer' is not a prompt of this model; it has passage, query",
    )


@pytest.mark.parametrize(("side", "kept"), [("right", slice(0, 30)), ("left", slice(-30, None))])
def test_long_texts_are_cut_to_max_seq_length_at_the_side_asked_for(
    sentences: RuntimeServer, model: Any, side: Any, kept: slice
) -> None:
    answer = InferenceClient(model=sentences.url).feature_extraction(LONG, truncate=True, truncation_direction=side)
    ids = model.tokenizer(LONG, add_special_tokens=False)["input_ids"][kept]
    whole = [model.tokenizer.cls_token_id, *ids, model.tokenizer.sep_token_id]
    with model.torch.inference_mode():
        hidden = model.model(input_ids=model.torch.tensor([whole])).last_hidden_state[0]
    np.testing.assert_allclose(answer, unit(hidden.mean(0).numpy()), atol=1e-4)


def test_truncate_false_refuses_what_encode_would_cut(sentences: RuntimeServer) -> None:
    assert sentences.post({"inputs": LONG}).status_code == 200
    refused = sentences.post({"inputs": LONG, "truncate": False})
    assert refused.status_code == 422
    assert "has 122 tokens, the model takes 32" in refused.json()["error"]


def test_base64_holds_the_same_float32_numbers(sentences: RuntimeServer) -> None:
    plain = sentences.post({"inputs": TEXT}).json()
    packed = sentences.post({"inputs": TEXT, "encoding_format": "base64"}).json()
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4"), plain, atol=1e-6)
