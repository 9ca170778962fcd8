"""The real MiniLM: vectors equal to pooling by hand, and similarities that a person can judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient

from tests.support.models import MINILM
from tests.support.runtime_server import RuntimeServer

SOURCE = "A man is eating food."
OTHERS = ["A man is eating a piece of bread.", "The girl is carrying a baby.", "A cheetah chases its prey."]


@pytest.fixture(scope="module")
def by_hand(direct: Any) -> Any:
    model = direct(MINILM, "AutoModel")

    def vector(text: str) -> Any:
        mean = model(text).last_hidden_state[0].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    return vector


def test_vectors_equal_mean_pooling_and_normalization_by_hand(minilm: RuntimeServer, by_hand: Any) -> None:
    answer = InferenceClient(model=minilm.url).feature_extraction([SOURCE, *OTHERS])
    np.testing.assert_allclose(answer, [by_hand(text) for text in (SOURCE, *OTHERS)], atol=1e-4)


def test_similarities_are_cosines_and_in_the_order_a_person_would_give(minilm: RuntimeServer, by_hand: Any) -> None:
    answer = InferenceClient(model=minilm.url).sentence_similarity(SOURCE, OTHERS)
    assert answer == pytest.approx([float(by_hand(SOURCE) @ by_hand(other)) for other in OTHERS], abs=1e-4)
    assert answer[0] > 0.7
    assert max(answer[1:]) < 0.3


def test_one_endpoint_answers_both_tasks_by_the_shape_of_the_inputs(minilm: RuntimeServer) -> None:
    body = {"inputs": {"source_sentence": SOURCE, "sentences": OTHERS}}
    assert minilm.post(body).json() == minilm.post(body, path="/pipeline/sentence-similarity").json()
    assert len(minilm.post({"inputs": SOURCE}).json()) == 384
    assert len(minilm.post({"inputs": SOURCE}, path=f"/models/{MINILM}/pipeline/feature-extraction").json()) == 384


def test_info_tells_model_commit_task_and_limits(minilm: RuntimeServer) -> None:
    import httpx

    info = httpx.get(f"{minilm.url}/info").json()
    assert info["model_id"] == MINILM
    assert len(info["model_sha"]) == 40
    assert info["task"] == "sentence-similarity"
    assert info["tasks"] == ["sentence-similarity", "feature-extraction"]
    assert info["max_input_length"] == 256
