"""One server for the dialects' tests that ask a model which writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.conftest import Serve
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny.generation import chat_decoder


@pytest.fixture(scope="package")
def writer(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """A tiny Llama with a chat template that knows tools, served as `writer`; its folder is called tiny-llama."""
    folder = chat_decoder(tmp_path_factory.mktemp("models") / "tiny-llama", max_position_embeddings=512)
    with serve(folder, SLIPWAY_ENDPOINT="writer", SLIPWAY_MAX_NEW_TOKENS="64") as running:
        yield running
