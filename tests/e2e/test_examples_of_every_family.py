"""Each example of a family of tasks, as it stands in examples/, with a tiny model of the same architecture under the
repository's name; called once through its Service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.world import World
from tests.runtime.clients.rows import CHAT, DATA_URI, PNG, WAV
from tests.support.kube import ROOT, Object
from tests.support.tiny import MAKERS

Ask = Callable[[httpx.Client], httpx.Response]
SMALL = {"requests": {"cpu": "50m", "memory": "300Mi"}, "limits": {"memory": "2Gi"}}
LOADING = 600.0
"""Seconds. All of them start at once, on two cores."""


def json_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def to(path: str, body: object) -> Ask:
    return lambda client: client.post(path, json=body)


def raw(content: bytes, kind: str) -> Ask:
    return lambda client: client.post("/", content=content, headers={"Content-Type": kind})


IMAGE_CHAT = [
    {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": DATA_URI}}, {"type": "text", "text": "a cat"}],
    }
]
# Example → the request of its own comment, and what the answer must hold.
FAMILIES: dict[str, tuple[Ask, Callable[[httpx.Response], object]]] = {
    "06-chat": (
        to("/v1/chat/completions", {"model": "assistant", "messages": CHAT, "max_tokens": 5}),
        lambda answer: json_of(answer)["choices"][0]["message"]["role"] == "assistant",
    ),
    "07-named-entities": (
        to("/", {"inputs": "paris is in france"}),
        lambda answer: isinstance(json_of(answer), list),
    ),
    "08-question-answering": (
        to("/", {"inputs": {"question": "what is big", "context": "london is big ."}}),
        lambda answer: json_of(answer)["answer"],
    ),
    "09-translation": (
        to("/", {"inputs": "the film was great"}),
        lambda answer: "translation_text" in json_of(answer)[0],
    ),
    "10-speech-recognition": (raw(WAV, "audio/wav"), lambda answer: "text" in json_of(answer)),
    "11-text-to-speech": (
        to("/", {"inputs": "a cat"}),
        lambda answer: answer.headers["content-type"] == "audio/wav" and answer.content.startswith(b"RIFF"),
    ),
    "12-image-classification": (raw(PNG, "image/png"), lambda answer: json_of(answer)[0]["label"]),
    "13-object-detection": (raw(PNG, "image/png"), lambda answer: isinstance(json_of(answer), list)),
    "14-image-and-text": (
        to("/v1/chat/completions", {"model": "viewer", "messages": IMAGE_CHAT, "max_tokens": 5}),
        lambda answer: json_of(answer)["usage"]["prompt_tokens"] > 2,
    ),
    "15-text-to-image": (
        to("/", {"inputs": "a cat", "parameters": {"num_inference_steps": 1, "height": 64, "width": 64}}),
        lambda answer: answer.headers["content-type"] == "image/png" and answer.content.startswith(b"\x89PNG"),
    ),
}


def example(name: str) -> Object:
    found: Object = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def applied(installed: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All of them, with resources that fit on one small node beside each other."""
    folder: Path = tmp_path_factory.mktemp("families")
    for name in FAMILIES:
        manifest = example(name)
        model = MAKERS[task_of(manifest)](folder / name)
        installed.mirror.publish(manifest["spec"]["model"]["id"], model)
        manifest["metadata"]["namespace"] = installed.namespace
        manifest["spec"]["resources"] = SMALL
        installed.kube.apply(manifest)
    yield installed
    for name in FAMILIES:
        installed.delete(example(name)["metadata"]["name"])


def task_of(manifest: Object) -> str:
    task: str = manifest["spec"]["task"]
    return "translation" if task.startswith("translation_") else task


def test_every_family_has_its_example() -> None:
    assert set(FAMILIES) == {path.stem for path in (ROOT / "examples").glob("*.yaml") if path.stem >= "06"}


@pytest.mark.parametrize("name", FAMILIES)
def test_an_example_becomes_ready_and_answers_the_call_in_its_comment(applied: World, name: str) -> None:
    endpoint = example(name)["metadata"]["name"]
    status = applied.ready(endpoint, LOADING)["status"]
    assert status["model"]["task"] == task_of(example(name))
    ask, holds = FAMILIES[name]
    with applied.url(endpoint) as base, httpx.Client(base_url=base, timeout=120) as client:
        assert holds(ask(client))
