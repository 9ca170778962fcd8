"""Ask an adapter in this process: the real loading code, the real batches, no server and no wire format."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.folder import open_folder
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Item, Limits, Loaded
from slipway_runtime.tasks.detect import choose_task
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.table import TASKS


def load(folder: Path, task: str = "", limits: Limits | None = None, **options: str) -> Loaded:
    """Load the model in `folder` as the server does. `options`: fields of Artifact, such as dtype."""

    def check(config: dict[str, Any], modules: tuple[str, ...]) -> None:
        choose_task(task, config, modules, folder.name)

    artifact: Artifact = replace(open_folder(str(folder), Path(tempfile.mkdtemp()), check), **options)  # type: ignore[arg-type]
    chosen = choose_task(task, artifact.config, artifact.modules, folder.name)
    loaded: Loaded = importlib.import_module(TASKS[chosen].module).load(artifact, limits or Limits())
    return loaded


def ask(loaded: Loaded, inputs: Any, task: str = "", **parameters: Any) -> Any:
    """One request: all its items in one batch. Raises what the adapter or its forward raises."""
    adapter = loaded.adapters[task or loaded.task]
    call = adapter.parse(inputs, convert(parameters, adapter.parameters))
    items = adapter.preprocess(call)
    outputs = run_items(items)
    for output in outputs:
        if isinstance(output, Exception):
            raise output
    return adapter.postprocess(call, outputs)


def run_items(items: Sequence[Item]) -> list[Any]:
    """Outputs in order. As from the queue: only items of equal forwards share a batch."""
    outputs: list[Any] = [None] * len(items)
    for forward in dict.fromkeys(item.forward for item in items):
        places = [i for i, item in enumerate(items) if item.forward == forward]
        for place, output in zip(places, run_batch([items[i] for i in places]), strict=True):
            outputs[place] = output
    return outputs
