"""What the dialects' tests share: a model that writes, and OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.runtime.conftest import Serve
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny.generation import chat_decoder


@pytest.fixture(scope="module")
def client(server: RuntimeServer) -> Iterator[OpenAI]:
    """OpenAI's own client of the file's `server`."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="package")
def writer(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """A tiny Llama with a chat template that knows tools, served as `writer`; its folder is called tiny-llama."""
    folder = chat_decoder(tmp_path_factory.mktemp("models") / "tiny-llama", max_position_embeddings=512)
    with serve(folder, SLIPWAY_ENDPOINT="writer", SLIPWAY_MAX_NEW_TOKENS="64") as running:
        yield running
