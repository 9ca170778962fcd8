"""Inputs on which the model really fails: each fails alone, with the kind of its error, never as NaN or null."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.load import Reply, percentile, pool, post
from tests.support.poison import add_word, spoil
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation, vision

GOOD = "the film was great"
BAD = "an awful movie"


@pytest.fixture(scope="module")
def classifier(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(spoil(models.classifier(tmp_path_factory.mktemp("poison") / "model"))) as server:
        yield server


@pytest.fixture(scope="module")
def sentences(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(spoil(models.sentence_transformer(tmp_path_factory.mktemp("poison") / "model"))) as server:
        yield server


@pytest.fixture(scope="module")
def writer(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = generation.chat_decoder(tmp_path_factory.mktemp("poison") / "model", tie_word_embeddings=False)
    with serve(spoil(folder, "~")) as server:
        yield server


AZURES_WORD = {"InternalServerError": "generation"}


def kind_of(answer: Any) -> str:
    """The kind, in whatever shape a format has it; one has no place for it."""
    error = answer["error"]
    kind = error["code"] if isinstance(error, dict) else answer.get("error_type", "generation")
    return AZURES_WORD.get(kind, str(kind))


FORMATS: dict[str, tuple[str, Any]] = {
    "huggingface": ("/", {"inputs": BAD}),
    "huggingface, several": ("/", {"inputs": [GOOD, BAD, GOOD]}),
    "open inference": (
        "/v2/models/model/infer",
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [BAD]}]},
    ),
    "azure": ("/score", {"input_data": [BAD]}),
    "sagemaker": ("/invocations", {"inputs": BAD}),
}
OF_VECTORS = FORMATS | {
    "openai, floats": ("/v1/embeddings", {"model": "dummy", "input": BAD, "encoding_format": "float"}),
    "openai, base64": ("/v1/embeddings", {"model": "dummy", "input": BAD, "encoding_format": "base64"}),
    "similarity": ("/", {"inputs": {"source_sentence": GOOD, "sentences": [GOOD, BAD]}}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_scores_that_are_no_numbers_are_500_in_every_format(classifier: RuntimeServer, name: str) -> None:
    path, body = FORMATS[name]
    answer = classifier.post(body, path)
    assert (answer.status_code, kind_of(answer.json())) == (500, "generation"), answer.text


@pytest.mark.parametrize("name", OF_VECTORS)
def test_vectors_that_are_no_numbers_are_500_in_every_format(sentences: RuntimeServer, name: str) -> None:
    path, body = OF_VECTORS[name]
    answer = sentences.post(body, path)
    assert (answer.status_code, kind_of(answer.json())) == (500, "generation"), answer.text


SHORT = {"max_new_tokens": 4}
WRITING: dict[str, tuple[str, Any, int]] = {
    "huggingface": ("/", {"inputs": "a ~", "parameters": SHORT}, 500),
    "huggingface, drawn": ("/", {"inputs": "a ~", "parameters": {**SHORT, "do_sample": True, "seed": 1}}, 500),
    "huggingface, stream": ("/", {"inputs": "a ~", "parameters": SHORT, "stream": True}, 500),
    "tgi": ("/generate", {"inputs": "a ~", "parameters": SHORT}, 424),
    "tgi, stream": ("/generate_stream", {"inputs": "a ~", "parameters": SHORT}, 424),
    "openai": ("/v1/completions", {"model": "dummy", "prompt": "a ~", "max_tokens": 4}, 500),
    "openai, chat": (
        "/v1/chat/completions",
        {"model": "dummy", "messages": [{"role": "user", "content": "a ~"}], "max_tokens": 4},
        500,
    ),
    "openai, stream": ("/v1/completions", {"model": "dummy", "prompt": "a ~", "max_tokens": 4, "stream": True}, 500),
}


@pytest.mark.parametrize("name", WRITING)
def test_a_prompt_on_which_the_model_computes_no_numbers_is_an_error_in_every_format(
    writer: RuntimeServer, name: str
) -> None:
    path, body, status = WRITING[name]
    answer = writer.post(body, path)
    assert (answer.status_code, kind_of(answer.json())) == (status, "generation"), answer.text


def test_an_image_on_which_the_model_computes_no_numbers_is_500(serve: Serve, tmp_path: Path) -> None:
    import torch

    folder = vision.vit(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("classifier.bias"))
    weights[name][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with serve(folder) as server:
        image = base64.b64encode(vision.png(vision.picture())).decode()
        answer = server.post({"inputs": image})
        assert (answer.status_code, answer.json()["error_type"]) == (500, "generation")


# Among neighbours


def test_the_neighbours_of_a_poisoned_text_in_its_batches_get_their_own_answers(classifier: RuntimeServer) -> None:
    alone = classifier.post({"inputs": GOOD}).json()
    replies = asyncio.run(_mixed(classifier, post({"inputs": GOOD}), post({"inputs": BAD})))
    for number, reply in enumerate(replies):
        if number % 5:
            assert reply.status == 200
            assert [s["label"] for s in reply.json()[0]] == [s["label"] for s in alone[0]]
            assert [s["score"] for s in reply.json()[0]] == pytest.approx([s["score"] for s in alone[0]], abs=1e-5)
        else:
            assert (reply.status, reply.json()["error_type"]) == (500, "generation")
    assert classifier.metric("slipway_batch_size_count") < classifier.metric("slipway_batch_size_sum")  # it did batch


def test_the_neighbours_of_a_poisoned_prompt_write_what_they_write_alone(writer: RuntimeServer) -> None:
    good = {"inputs": "the film was", "parameters": {"max_new_tokens": 24}}
    bad = {"inputs": "the ~ was", "parameters": {"max_new_tokens": 24}}
    alone = writer.post(good).json()
    replies = asyncio.run(_mixed(writer, post(good), post(bad)))
    assert [reply.status for reply in replies] == [500 if i % 5 == 0 else 200 for i in range(len(replies))]
    assert all(reply.json() == alone for i, reply in enumerate(replies) if i % 5)


async def _mixed(server: RuntimeServer, good: bytes, bad: bytes) -> list[Reply]:
    """Sixty at once, each fifth of them bad."""
    async with pool(server.http_port) as connections:
        return list(await asyncio.gather(*(connections.ask(good if i % 5 else bad) for i in range(60))))


def test_an_input_on_which_the_forward_raises_fails_alone(serve: Serve, tmp_path: Path) -> None:
    """The tokenizer knows a word that the table of embeddings has no row for: an index out of range, in torch."""
    with serve(add_word(models.classifier(tmp_path / "model"), "xylophone")) as server:
        good, bad = post({"inputs": GOOD}), post({"inputs": "a xylophone movie"})
        replies = asyncio.run(_mixed(server, good, bad))
        assert [reply.status for reply in replies] == [500 if i % 5 == 0 else 200 for i in range(len(replies))]
        errors = [reply.json() for i, reply in enumerate(replies) if i % 5 == 0]
        assert {error["error_type"] for error in errors} == {"generation"}
        assert "xylophone" not in server.log.read_text()
        assert server.probe("livez") == 200
        # Of bad inputs alone the model is not at fault: it goes on.
        assert server.post({"inputs": GOOD}).status_code == 200


def test_many_poisoned_requests_cost_no_more_than_a_forward_each_and_leave_the_server_ready(
    classifier: RuntimeServer,
) -> None:
    replies = asyncio.run(_mixed(classifier, post({"inputs": BAD}), post({"inputs": BAD})))
    assert {reply.status for reply in replies} == {500}
    assert classifier.probe("readyz") == classifier.probe("livez") == 200
    assert percentile([reply.seconds for reply in replies], 0.5) < 10
