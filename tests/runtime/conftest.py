"""Servers and models for the runtime's tests.

A server costs seconds of CPU (torch), so the ordinary ones are shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support import models
from tests.support.hub_mirror import Mirror, running
from tests.support.runtime_server import RuntimeServer, serving

# Before torch is loaded, here and in the process that servers are forked from. Threads of several processes on two
# cores wait for each other by spinning: models as tiny as these take three times the processor's time for nothing.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).parents[2]
PROMPTS = {"query": "the city of ", "passage": "a story of "}


@pytest.fixture(scope="session")
def hub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mirror's folder with every ordinary model."""
    root = tmp_path_factory.mktemp("hub")
    models.classifier(root / "tiny/classifier", labels=[f"label-{i}" for i in range(7)])
    models.masked_lm(root / "tiny/masked-lm")
    models.encoder(root / "tiny/encoder")
    models.sentence_transformer(root / "tiny/sentences", prompts=PROMPTS)
    models.real_minilm(root / models.MINILM, minilm_site())
    return root


def minilm_site() -> Path:
    """Where requirements/demo.txt was installed (make minilm)."""
    return Path(os.environ.get("SLIPWAY_MINILM_SITE", REPOSITORY / ".cache/minilm"))


@pytest.fixture(scope="session")
def hub(hub_root: Path) -> Iterator[tuple[str, Mirror]]:
    """A mirror without faults: (URL, its state)."""
    with running(hub_root) as mirror:
        yield mirror


class Start(Protocol):
    """Start a server for a repository of the session's mirror, with further variables."""

    def __call__(
        self, repository: str, warm: bool = False, /, **variables: str
    ) -> AbstractContextManager[RuntimeServer]: ...


@pytest.fixture(scope="session")
def start(hub: tuple[str, Mirror], tmp_path_factory: pytest.TempPathFactory) -> Start:
    def begin(repository: str, warm: bool = False, /, **variables: str) -> AbstractContextManager[RuntimeServer]:
        env = {"SLIPWAY_MODEL_ID": repository, "HF_ENDPOINT": hub[0]} | variables
        return serving(tmp_path_factory.mktemp("server"), warm, **env)

    return begin


def _ready(start: Start, repository: str, **variables: str) -> Iterator[RuntimeServer]:
    with start(repository, True, **variables) as server:
        server.wait_for_stage("Ready")
        yield server


@pytest.fixture(scope="session")
def classifier(start: Start) -> Iterator[RuntimeServer]:
    yield from _ready(start, "tiny/classifier", SLIPWAY_ENDPOINT="emotions")


@pytest.fixture(scope="session")
def masked_lm(start: Start) -> Iterator[RuntimeServer]:
    yield from _ready(start, "tiny/masked-lm")


@pytest.fixture(scope="session")
def encoder(start: Start) -> Iterator[RuntimeServer]:
    yield from _ready(start, "tiny/encoder")


@pytest.fixture(scope="session")
def sentences(start: Start) -> Iterator[RuntimeServer]:
    yield from _ready(start, "tiny/sentences")


@pytest.fixture(scope="session")
def minilm(start: Start) -> Iterator[RuntimeServer]:
    yield from _ready(start, models.MINILM, SLIPWAY_TASK="sentence-similarity")


class Serve(Protocol):
    """Start a server for a folder, Ready, with further variables."""

    def __call__(self, folder: Path, **variables: str) -> AbstractContextManager[RuntimeServer]: ...


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Serve:
    @contextmanager
    def begin(folder: Path, **variables: str) -> Iterator[RuntimeServer]:
        env = {"SLIPWAY_MODEL_PATH": str(folder)} | variables
        with serving(tmp_path_factory.mktemp("server"), True, **env) as server:
            server.wait_for_stage("Ready")
            yield server

    return begin


class Direct:
    """The model itself in the test's process: what every answer is compared with."""

    def __init__(self, folder: Path, auto_class: str) -> None:
        import torch
        import transformers

        self.torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = getattr(transformers, auto_class).from_pretrained(folder).eval()

    def __call__(self, text: str, pair: str | None = None) -> Any:
        """The model's output for one text, unpadded."""
        with self.torch.inference_mode():
            return self.model(**self.tokenizer(text, pair, return_tensors="pt"))


@pytest.fixture(scope="session")
def direct(hub_root: Path) -> Any:
    def make(repository: str, auto_class: str) -> Direct:
        return Direct(hub_root / repository, auto_class)

    return make
