"""The steps of one load, wired to the real fetch, import and forward."""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.credentials import fingerprint
from slipway_runtime.artifacts.fetch import Surroundings, fetch_adapter, fetch_model
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.quantised import check_quantisation, check_quantising
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.serve.life.lifecycle import Steps
from slipway_runtime.serve.loading.ahead import Ahead, in_thread, read_ahead
from slipway_runtime.serve.observe.logs import event
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Adapter, Item, Limits, Loaded
from slipway_runtime.tasks.detect import choose_task
from slipway_runtime.tasks.table import TASKS


def steps_for(settings: Settings, fault: ModelFault | None, inference: Executor, shared: int | None = None) -> Steps:
    """Steps for `settings`; with `fault`, every attempt ends with it (a configuration that cannot be used).

    `shared`: the file of the weights that several workers have in common (tasks/sharing.py).
    """
    ahead = Ahead()
    limits = Limits(
        max_inputs=settings.max_inputs,
        max_input_tokens=settings.max_input_tokens,
        max_new_tokens=settings.max_new_tokens,
        max_prefix_tokens=settings.max_prefix_tokens,
        max_image_pixels=settings.max_image_pixels,
        max_audio_seconds=settings.max_audio_seconds,
    )

    def check(config: dict[str, Any], modules: tuple[str, ...]) -> None:
        # Before gigabytes are fetched for nothing.
        task = choose_task(settings.task, config, modules, settings.model_name)
        check_quantisation(config, settings.model_name)
        check_quantising(settings.quantization, config, task, settings.model_name)
        if settings.compile:
            _check_compiler()
        code = [TASKS[task].module, *(["slipway_runtime.tasks.variants"] if settings.variants else [])]
        ahead.import_code(code, str(config.get("model_type", "")))

    def fetch_now(progress: Progress) -> Artifact:
        if fault is not None:
            raise fault
        reference = settings.model
        if reference is None:
            raise ModelFault("BadConfiguration", "no model is named: set SLIPWAY_MODEL_ID, _PATH or _URI", "model")
        around = Surroundings(Path(settings.cache_dir), settings.hf_endpoint, settings.plain_hosts)
        artifact = fetch_model(reference, around, progress, check)
        if artifact.offline:
            event("the source cannot be reached; what was fetched before is served", model=artifact.id,
                  revision=artifact.revision, detail=artifact.offline)  # fmt: skip
        adapters = tuple(fetch_adapter(variant, around) for variant in settings.variants)
        return replace(artifact, adapters=adapters, dtype=settings.dtype, quantization=settings.quantization)

    attempts = itertools.count()

    def load_now(artifact: Artifact) -> Loaded:
        if next(attempts):
            gc.collect()  # what a failed attempt has left must not be frozen below
        task = choose_task(settings.task, artifact.config, artifact.modules, settings.model_name)
        with _shared(shared, settings.workers) as share:
            loaded: Loaded = importlib.import_module(TASKS[task].module).load(artifact, limits)
            return _as_asked(loaded, artifact, settings, share)

    def warm_up_now(loaded: Loaded) -> None:
        for name in ("", *(loaded.variants.names if loaded.variants else ())):
            for adapter in loaded.adapters.values():
                if any(isinstance(outcome, Exception) for outcome in run_batch(_warm_items(loaded, adapter, name))):
                    what = f"{settings.model_name}{f' with the adapter {name}' if name else ''}"
                    raise ModelFault("ModelCorrupt", f"{what}: a first forward failed; the log has the place", "model")

    async def load(artifact: Artifact) -> Loaded:
        reading = in_thread(lambda: read_ahead(artifact.folder), "read ahead")
        await asyncio.wrap_future(ahead.result())
        await asyncio.wrap_future(reading)
        return await asyncio.get_running_loop().run_in_executor(inference, load_now, artifact)

    async def warm_up(loaded: Loaded) -> None:
        await asyncio.get_running_loop().run_in_executor(inference, warm_up_now, loaded)
        # What is there now stays: to go through it takes a tenth of a second, in which nobody is answered.
        gc.freeze()

    async def fetch_in_thread(progress: Progress) -> Artifact:
        artifact = await asyncio.wrap_future(in_thread(lambda: fetch_now(progress), "fetch"))
        event("the model's files are here", bytes=artifact.size_bytes)
        return artifact

    return Steps(fetch_in_thread, load, warm_up, lambda: fingerprint(settings.token_file))


def _as_asked(loaded: Loaded, artifact: Artifact, settings: Settings, share: Callable[[Loaded], Loaded]) -> Loaded:
    """The model with what the settings ask for beside it: int8, weights in common, adapters, torch.compile."""
    if artifact.quantization:
        _check_int8(loaded, artifact)
    loaded = share(loaded)
    if artifact.adapters:
        from slipway_runtime.tasks.variants import attach  # noqa: PLC0415 - imports peft

        loaded = attach(loaded, artifact.adapters)
    if settings.compile:  # in one's turn: the other workers find it on disk
        from slipway_runtime.tasks.compiled import compile_forward  # noqa: PLC0415 - the compiler, where it is asked for

        loaded = compile_forward(loaded, Path(settings.cache_dir) / "compiled")
    return loaded


def _check_compiler() -> None:
    name = os.environ.get("CXX") or "g++"  # as torch looks for it
    if shutil.which(name) is None:
        raise ModelFault(
            "BadConfiguration",
            f"SLIPWAY_COMPILE: torch.compile needs a C++ compiler, and {name} is not in this image. Build the image "
            "with --build-arg COMPILER=g++, or leave the variable out",
            "env",
        )


def _check_int8(loaded: Loaded, artifact: Artifact) -> None:
    from slipway_runtime.tasks import int8  # noqa: PLC0415 - imported where it is asked for

    made = int8.check(loaded, artifact.id)
    event("linear layers are int8", layers=made.layers, shareOfWeights=round(made.share, 3),
          outputsMovedBy=round(made.apart, 4))  # fmt: skip


@contextmanager
def _shared(file: int | None, workers: int) -> Iterator[Callable[[Loaded], Loaded]]:
    """A worker's turn to load, and what has the weights of the model that it loads shared with the others."""
    if file is None:
        yield lambda loaded: loaded
        return
    from slipway_runtime.tasks import sharing  # noqa: PLC0415 - imports torch, which is there when a load begins

    def share(loaded: Loaded) -> Loaded:
        sharing.check_model(workers, loaded)
        found = sharing.share(loaded.model, file)
        event("the weights are shared", mapped=found.mapped, moved=found.moved, own=found.own)
        return loaded

    sharing.check_device(workers)
    with sharing.turn(file):
        yield share


def self_check(loaded: Loaded | None) -> None:
    """A small forward of the default task, in the inference thread. Raises what it raises."""
    if loaded is None:
        return
    items = _warm_items(loaded, loaded.adapters[loaded.task], "")
    for output in items[0].forward(items):
        if isinstance(output, Exception):
            raise output


def _warm_items(loaded: Loaded, adapter: Adapter, variant: str) -> list[Item]:
    items = adapter.warmup()
    if loaded.variants is None:
        return items
    return [replace(item, forward=loaded.variants.forward(variant, item.forward)) for item in items]
