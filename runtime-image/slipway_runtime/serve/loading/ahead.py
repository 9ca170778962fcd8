"""What is done ahead, while a model's files are on their way: each thing as soon as what it needs is known.

    process start     torch and transformers are imported           in a thread
    config.json       the task's and the architecture's own code    in a thread, after those
    files on disk     weights are read into the page cache          by the kernel, while the imports go on

Importing takes longer than loading where a model is small, and shares one interpreter with the event loop and the
download, so nothing is imported that this model does not need, and nobody looks for garbage meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from slipway_runtime.memory import left
from slipway_runtime.serve.observe.logs import event

T = TypeVar("T")
_MODEL_TYPE = re.compile("[a-z0-9_-]+")
_CACHE_SHARE = 0.5  # of the memory that is left: what is read ahead must still be there when it is loaded


class Ahead:
    """Imports in threads of their own. `code` may be asked for again: an attempt after a failure."""

    def __init__(self) -> None:
        self._libraries = in_thread(_import_libraries, "import")
        self._code: Future[None] | None = None

    def import_code(self, modules: Sequence[str], model_type: str) -> None:
        """Begin with the code of one model: `modules` of ours, and transformers' own for `model_type`."""
        if self._code is None or self._code.done():
            self._code = in_thread(lambda: self._import_code(modules, model_type), "import")

    def result(self) -> Future[None]:
        """Done when loading may begin. Raises what importing the libraries raised."""
        return self._code or self._libraries

    def _import_code(self, modules: Sequence[str], model_type: str) -> None:
        self._libraries.result()
        began = time.monotonic()
        # What cannot be imported is met again by the load, which makes a fault of it.
        with contextlib.suppress(Exception), uncollected():
            for module in modules:
                importlib.import_module(module)
            if _MODEL_TYPE.fullmatch(model_type):
                importlib.import_module(_modelling(model_type))
            _compile_names(model_type)
        event("the model's code is imported", seconds=round(time.monotonic() - began, 3))


def read_ahead(folder: Path) -> int:
    """Let the kernel read the weights, from end to end; returns the bytes asked for.

    Loading maps files and touches their pages in another order, which is slow on network disks.
    """
    asked, room = 0, left()
    with contextlib.suppress(OSError):  # met again by the load
        for file in sorted(folder.rglob("*.safetensors")):
            with file.open("rb") as opened:
                size = os.fstat(opened.fileno()).st_size
                if room is not None and asked + size > _CACHE_SHARE * room:
                    break
                os.posix_fadvise(opened.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
                asked += size
    return asked


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Importing makes half a million objects that stay; to go through them again and again, which the collector does
    1,100 times, is a fifth of the time (measured: 1.3 of 6.6 s of torch, a model's class and its weights)."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Run in a daemon thread: unlike a pool's, it does not hold up an exit in the middle of a download or an import."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # whoever waits may stop waiting; the work itself is not cancelled

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # handed to whoever waits
            done.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


def _import_libraries() -> None:
    """What every load needs, beside the event loop and the download. Threads are set by variables (cpu.py)."""
    began = time.monotonic()
    with uncollected():
        import transformers  # noqa: PLC0415 - this is the one place that decides when
        import transformers.modeling_utils  # noqa: PLC0415

        import slipway_runtime.tasks.loading  # noqa: F401, PLC0415

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    event("libraries are imported", seconds=round(time.monotonic() - began, 3))


def _compile_names(model_type: str) -> None:
    """The patterns of weights' names in older checkpoints: a thousand, compiled at the first call."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping  # noqa: PLC0415

    get_checkpoint_conversion_mapping(model_type)  # type: ignore[no-untyped-call]


def _modelling(model_type: str) -> str:
    """The module of transformers with the classes of an architecture."""
    from transformers.models.auto.configuration_auto import model_type_to_module_name  # noqa: PLC0415

    name: Any = model_type_to_module_name(model_type)
    return f"transformers.models.{name}.modeling_{name.rpartition('.')[2]}"
