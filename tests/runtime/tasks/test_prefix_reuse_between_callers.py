"""What a server tells of reused prefixes, and that nobody learns from it, or from the time, what another has asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from slipway_runtime.tasks.generation.prefixes import BLOCK

from tests.runtime.conftest import Serve
from tests.runtime.test_metrics import total
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny.generation import chat_decoder
from tests.support.waiting import eventually

TOKENS = ("one-callers-token", "anothers-token")
SYSTEM = "the cat of the film was a great name " * 3
# Letters that make no longer tokens: what an answer is written as is how the next turn reads it.
LETTERS = {"type": "regex", "value": "[j-l]{24}"}


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = tmp_path_factory.mktemp("tokens")
    for place, token in enumerate(TOKENS):
        (folder / f"token-{place}").write_text(token)
    model = chat_decoder(tmp_path_factory.mktemp("models") / "writer")
    with serve(model, SLIPWAY_ENDPOINT="writer", SLIPWAY_API_TOKENS_DIR=str(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def clients(server: RuntimeServer) -> Iterator[list[OpenAI]]:
    made = [OpenAI(base_url=f"{server.url}/v1", api_key=token, max_retries=0) for token in TOKENS]
    yield made
    for client in made:
        client.close()


def chat(client: OpenAI, messages: list[dict[str, Any]], **more: Any) -> Any:
    form: Any = LETTERS
    asked: Any = messages
    return client.chat.completions.create(
        model="writer", messages=asked, temperature=0, max_tokens=30, response_format=form, **more
    )


def cached(answer: Any) -> int:
    found: int = answer.usage.prompt_tokens_details.cached_tokens
    return found


def whole(tokens: int) -> int:
    return tokens // BLOCK * BLOCK


def test_a_chat_that_grows_is_read_from_where_it_ended(clients: list[OpenAI], server: RuntimeServer) -> None:
    before = {name: total(server, f"vllm:prefix_cache_{name}_total") for name in ("queries", "hits")}
    messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "a cat"}]
    answers = [chat(clients[0], messages)]
    for question in ("is it ?", "was it ?", "and the name ?"):
        messages += [{"role": "assistant", "content": answers[-1].choices[0].message.content}]
        messages += [{"role": "user", "content": question}]
        answers.append(chat(clients[0], messages))
    # The last token of an answer has not gone through the model.
    ends = [answer.usage.total_tokens - 1 for answer in answers]
    assert [cached(answer) for answer in answers] == [0, *(whole(end) for end in ends[:-1])]
    asked, found = sum(a.usage.prompt_tokens for a in answers), sum(cached(answer) for answer in answers)
    assert total(server, "vllm:prefix_cache_queries_total") - before["queries"] == asked
    assert total(server, "vllm:prefix_cache_hits_total") - before["hits"] == found > asked / 2


def test_a_streams_usage_says_it_too(clients: list[OpenAI]) -> None:
    messages = [{"role": "user", "content": f"streamed {SYSTEM}"}]
    first = chat(clients[0], messages)
    *_, last = chat(clients[0], messages, stream=True, stream_options={"include_usage": True})
    assert cached(last) == whole(first.usage.prompt_tokens - 1) > 0


@pytest.mark.parametrize("route", ["chat", "completions"])
def test_callers_do_not_share_what_they_have_asked(clients: list[OpenAI], route: str) -> None:
    secret = f"{route}: {SYSTEM}"

    def ask(client: OpenAI, **more: Any) -> int:
        if route == "chat":
            return cached(chat(client, [{"role": "user", "content": secret}], **more))
        return cached(client.completions.create(model="writer", prompt=secret, max_tokens=2, **more))

    assert ask(clients[0]) == 0
    assert ask(clients[1]) == 0, "one caller's prompt spared another's time"
    assert ask(clients[0]) == ask(clients[1]) > 0
    salted: Any = {"extra_body": {"cache_salt": "one of the caller's own"}}
    assert ask(clients[0], **salted) == 0, "a salt did not keep two of one caller's apart"
    assert ask(clients[0], **salted) > 0


def test_a_salt_that_is_none_is_refused(server: RuntimeServer) -> None:
    for salt in ("", "a" * 257, 7):
        answer = httpx.post(
            f"{server.url}/v1/completions",
            json={"prompt": "a", "cache_salt": salt},
            headers={"Authorization": f"Bearer {TOKENS[0]}"},
        )
        assert answer.status_code == 400
        assert "cache_salt" in answer.json()["error"]["message"]


def test_info_and_the_log_say_whether_prefixes_are_reused(server: RuntimeServer, serve: Serve, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[0]}"}
    assert httpx.get(f"{server.url}/info", headers=headers).json()["prefix_reuse"] is True
    with serve(chat_decoder(tmp_path / "writer"), SLIPWAY_MAX_PREFIX_TOKENS="0") as off:
        assert httpx.get(f"{off.url}/info").json()["prefix_reuse"] is False
        usage = off.post({"prompt": SYSTEM, "max_tokens": 2}, "/v1/completions").json()["usage"]
        assert usage.keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}
        [line] = eventually(lambda: [line for line in off.lines() if "prefixReuse" in line])
    assert (line["prefixReuse"], line["noReuseReason"]) == (False, "SLIPWAY_MAX_PREFIX_TOKENS is 0")
