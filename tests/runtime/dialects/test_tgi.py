"""text-generation-inference's routes over a real model, and InferenceClient's text_generation on `/`.

Its own client lives in an environment of its own.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import ValidationError

from tests.runtime.conftest import REPOSITORY
from tests.support.runtime_server import RuntimeServer

PROMPT = "the film was"
# All that text_generation 0.7 sends, nulls among it.
PARAMETERS: dict[str, Any] = {
    "do_sample": False, "max_new_tokens": 8, "repetition_penalty": None, "frequency_penalty": None,
    "return_full_text": False, "stop": [], "seed": None, "temperature": None, "top_k": None, "top_p": None,
    "truncate": None, "typical_p": None, "best_of": None, "watermark": False, "details": True,
    "decoder_input_details": False, "top_n_tokens": None, "grammar": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def answered(writer: RuntimeServer) -> Any:
    response = writer.post({"inputs": PROMPT, "parameters": PARAMETERS}, path="/generate")
    assert response.status_code == 200, response.text
    return response.json()


def events(url: str, **body: Any) -> list[Any]:
    with httpx.stream("POST", url, json={"inputs": PROMPT, **body}, timeout=60) as answer:
        lines = list(answer.iter_lines())
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data:")]


def test_details_describe_every_token(answered: Any) -> None:
    details = answered["details"]
    assert details["generated_tokens"] == len(details["tokens"]) <= 8
    assert details["finish_reason"] in ("length", "eos_token")
    assert details["prefill"] == []
    assert details["seed"] is None
    text = "".join(token["text"] for token in details["tokens"] if not token["special"])
    assert text == answered["generated_text"]


def test_the_root_answers_what_text_generations_client_reads(writer: RuntimeServer, answered: Any) -> None:
    body = {"inputs": PROMPT, "parameters": PARAMETERS, "stream": False}
    assert writer.post(body).json() == [answered]


@pytest.mark.parametrize(("path", "body"), [("/generate_stream", {}), ("/", {"stream": True})])
def test_a_stream_has_the_same_tokens_and_ends_with_the_text(
    writer: RuntimeServer, answered: Any, path: str, body: Any
) -> None:
    found = events(writer.url + path, parameters=PARAMETERS, **body)
    assert [one["token"] for one in found] == answered["details"]["tokens"]
    assert [one["index"] for one in found] == list(range(1, len(found) + 1))
    assert [one["generated_text"] for one in found[:-1]] == [None] * (len(found) - 1)
    assert found[-1]["generated_text"] == answered["generated_text"]
    assert found[-1]["details"]["generated_tokens"] == len(found)
    assert found[-1]["details"]["input_length"] > 0


def test_inference_client(writer: RuntimeServer, answered: Any) -> None:
    with InferenceClient(model=writer.url) as client:
        asked: dict[str, Any] = {"max_new_tokens": 8, "return_full_text": False, "do_sample": False}
        assert client.text_generation(PROMPT, **asked) == answered["generated_text"]
        assert "".join(client.text_generation(PROMPT, **asked, stream=True)) == answered["generated_text"]
        whole: Any = client.text_generation(PROMPT, **asked, details=True)
        assert whole.details.generated_tokens == answered["details"]["generated_tokens"]
        *_, last = client.text_generation(PROMPT, **asked, details=True, stream=True)
        assert last.generated_text == answered["generated_text"]
        assert last.details and last.details.finish_reason == answered["details"]["finish_reason"]


async def test_async_inference_client(writer: RuntimeServer, answered: Any) -> None:
    async with AsyncInferenceClient(model=writer.url) as client:
        asked: dict[str, Any] = {"max_new_tokens": 8, "return_full_text": False, "do_sample": False}
        assert await client.text_generation(PROMPT, **asked) == answered["generated_text"]
        stream = await client.text_generation(PROMPT, **asked, stream=True)
        assert "".join([text async for text in stream]) == answered["generated_text"]


CHAT = """
import json, sys
from text_generation import Client
from text_generation.errors import ValidationError

client, asked = Client(sys.argv[1], timeout=60), {"messages": [{"role": "user", "content": "the film"}], "seed": 1}
whole = client.chat(**asked, max_tokens=4, temperature=0.5)
chunks = []
try:
    for chunk in client.chat(**asked, max_tokens=4, temperature=0.5, stream=True):
        chunks.append(chunk.choices[0].delta.content or "")
except json.JSONDecodeError:
    pass  # of [DONE], which TGI itself sends too
try:
    client.generate("a", max_new_tokens=500)
except ValidationError as error:
    print(json.dumps([whole.choices[0].message.content, "".join(chunks), str(error)]))
"""


def test_text_generations_own_client_chats_and_reads_errors(writer: RuntimeServer) -> None:
    python = REPOSITORY / ".venv/clients/bin/python"
    done = subprocess.run([str(python), "-c", CHAT, writer.url], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    whole, streamed, error = json.loads(done.stdout)
    assert whole == streamed != ""
    assert error == "parameters.max_new_tokens: is 500, at most 64 are allowed on this server"


def test_inference_client_asks_for_health_and_info(writer: RuntimeServer) -> None:
    with InferenceClient(model=writer.url, provider="hf-inference") as client:
        assert client.health_check()
        assert client.get_endpoint_info()["model_id"] == "tiny-llama"


def test_inference_client_gets_typed_errors(writer: RuntimeServer) -> None:
    with InferenceClient(model=writer.url) as client:
        with pytest.raises(ValidationError, match="max_new_tokens: is 65, at most 64 are allowed"):
            client.text_generation(PROMPT, max_new_tokens=65)
        with pytest.raises(ValidationError, match="max_new_tokens: is 65"):
            list(client.text_generation(PROMPT, max_new_tokens=65, stream=True))


def test_the_full_text_begins_with_the_prompt_on_the_root_alone(writer: RuntimeServer) -> None:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 2}}
    assert writer.post(body).json()[0]["generated_text"].startswith(PROMPT)
    assert not writer.post(body, path="/generate").json()["generated_text"].startswith(PROMPT)


def test_the_prompt_and_the_likeliest_tokens(writer: RuntimeServer) -> None:
    parameters = {"max_new_tokens": 2, "decoder_input_details": True, "top_n_tokens": 3, "details": True}
    details = writer.post({"inputs": PROMPT, "parameters": parameters}, path="/generate").json()["details"]
    assert "".join(token["text"] for token in details["prefill"]) == PROMPT
    assert details["prefill"][0]["logprob"] is None
    assert [len(top) for top in details["top_tokens"]] == [3] * len(details["tokens"])


def test_the_best_of_several(writer: RuntimeServer) -> None:
    parameters = {"max_new_tokens": 4, "best_of": 3, "do_sample": True, "details": True}
    answer = writer.post({"inputs": PROMPT, "parameters": parameters}, path="/generate").json()
    assert len(answer["details"]["best_of_sequences"]) == 2


def test_headers_tell_where_the_time_went(writer: RuntimeServer) -> None:
    answer = writer.post({"inputs": PROMPT, "parameters": {"max_new_tokens": 4}}, path="/generate")
    assert answer.headers["x-compute-type"] == "cpu"
    assert answer.headers["x-generated-tokens"] == "4"
    assert answer.headers["x-compute-characters"] == str(len(PROMPT))
    times = [int(answer.headers[f"x-{name}-time"]) for name in ("validation", "queue", "inference")]
    assert sum(times) <= int(answer.headers["x-total-time"]) <= sum(times) + 3


def test_tokenize(writer: RuntimeServer) -> None:
    found = writer.post({"inputs": PROMPT}, path="/tokenize").json()
    assert "".join(PROMPT[piece["start"] : piece["stop"]] for piece in found) == PROMPT
    assert all(piece["text"] == PROMPT[piece["start"] : piece["stop"]] for piece in found)
    generated = writer.post({"inputs": PROMPT, "parameters": {"max_new_tokens": 1}}, path="/generate")
    assert generated.headers["x-prompt-tokens"] == str(len(found))


def test_tokenize_of_a_model_that_writes_nothing(classifier: RuntimeServer) -> None:
    with_special = classifier.post({"inputs": "a film"}, path="/tokenize").json()
    without = classifier.post({"inputs": "a film", "add_special_tokens": False}, path="/tokenize").json()
    assert with_special[1:-1] == without
    assert [(piece["text"], piece["start"], piece["stop"]) for piece in with_special[:1]] == [("", 0, 0)]
    answer = classifier.post({"messages": [{"role": "user", "content": "a"}]}, path="/chat_tokenize")
    assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")
    assert "this model has no chat template" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/tokenize", {}, "inputs: is missing"),
        ("/tokenize", {"inputs": 3}, "inputs: Expected str, got int"),
        ("/chat_tokenize", {"messages": [{"role": "x"}]}, "messages[0].role: must be one of"),
        ("/generate", {"inputs": ""}, "inputs: is empty; give a text"),
        ("/generate", {"inputs": "a", "parameters": {"max_new_token": 3}},
         "parameters.max_new_token: unknown parameter (did you mean max_new_tokens?)"),
        ("/generate_stream", {"inputs": "a", "parameters": {"temperature": 0}}, "parameters.temperature: Expected"),
        ("/", {"inputs": "a", "stream": True, "parameters": {"top_p": 2}}, "parameters.top_p: Expected"),
    ],
)  # fmt: skip
def test_bad_requests_are_422_with_error_and_error_type(
    writer: RuntimeServer, path: str, body: dict[str, Any], error: str
) -> None:
    answer = writer.post(body, path=path)
    assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")
    assert answer.json()["error"].startswith(error), answer.json()["error"]


def test_a_stream_of_a_task_that_has_none_is_refused(classifier: RuntimeServer) -> None:
    answer = classifier.post({"inputs": "a", "stream": True})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("stream: the task text-classification has no stream")
    answer = classifier.post({"inputs": "a"}, path="/generate")
    assert (answer.status_code, answer.json()["error_type"]) == (404, "not_found")


def test_info_has_what_tgis_has(writer: RuntimeServer, classifier: RuntimeServer) -> None:
    info = httpx.get(f"{writer.url}/info").json()
    assert info["model_id"] == "tiny-llama"
    assert info["model_pipeline_tag"] == "text-generation"
    assert (info["max_best_of"], info["max_stop_sequences"], info["max_new_tokens"]) == (16, 16, 64)
    assert info["max_total_tokens"] == info["max_input_tokens"] + 1 == 512
    for name in ("model_sha", "max_concurrent_requests", "validation_workers", "max_client_batch_size", "router",
                 "version", "sha", "docker_label"):  # fmt: skip
        assert name in info
    assert "max_best_of" not in httpx.get(f"{classifier.url}/info").json()
