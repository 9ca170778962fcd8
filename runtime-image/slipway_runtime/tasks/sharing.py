"""One copy of a model's weights for all workers: what is not mapped from its files already is put into one more.

A checkpoint in the type that it is computed in stays mapped: its pages are the kernel's, once for all who map them.
Weights that were converted, merged or made while loading are each process's own. The first worker writes these into a
file in memory; then every worker, the first too, maps them from there. Mapped privately: whoever writes has a copy.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from slipway_runtime import memory
from slipway_runtime.errors import ModelFault
from slipway_runtime.tasks.adapter import Loaded

_MAPS = Path("/proc/self/maps")
_ALIGNED = 64  # bytes, as torch aligns its own memory


@dataclass(frozen=True)
class Shared:
    """Bytes of a model's weights by where they are."""

    mapped: int
    """In the model's own files."""
    moved: int
    """In the workers' file."""
    own: int
    """In this process alone."""


def check_device(workers: int, gpus: Callable[[], int] = torch.cuda.device_count) -> None:
    """Raises ModelFault where there is a GPU: each process would have weights of its own there."""
    if found := gpus():
        raise ModelFault(
            "BadConfiguration",
            f"SLIPWAY_WORKERS={workers}: several workers are for processors, and this pod has a GPU ({found} found), "
            "which one process uses best. Leave the variable out",
            "env",
        )


def check_model(workers: int, loaded: Loaded) -> None:
    """Raises ModelFault where there are no weights at hand that could be shared."""
    if not isinstance(loaded.model, torch.nn.Module):
        raise ModelFault(
            "BadConfiguration",
            f"SLIPWAY_WORKERS={workers}: {loaded.task} is served by one process, as its weights cannot be shared. "
            "Leave the variable out",
            "env",
        )


@contextmanager
def turn(fd: int) -> Iterator[None]:
    """One worker after another: of weights on their way through a process's own memory there is one copy at a time."""
    with Path(f"/proc/self/fd/{fd}").open("rb") as own:  # a handle that is inherited is one holder of a lock for all
        fcntl.flock(own, fcntl.LOCK_EX)
        yield


def share(model: torch.nn.Module, fd: int) -> Shared:
    """From now on the model's weights are mapped. To be called in one's turn: the first fills the file."""
    mapped, own, odd = _sorted_out([*model.parameters(), *model.buffers()])
    bytes_ = sum(part.storage.nbytes() for part in own)
    moved = _move(fd, own)
    own.clear()
    memory.give_back()
    return Shared(mapped, moved, bytes_ - moved + odd)


@dataclass(frozen=True)
class _Memory:
    """Memory of this process, and the tensors that look at it: tied weights are several, parts of a whole too."""

    storage: torch.UntypedStorage
    tensors: list[torch.Tensor]


def _sorted_out(tensors: Iterable[torch.Tensor]) -> tuple[int, list[_Memory], int]:
    """Bytes that are mapped; what is this process's own, in the model's order; bytes that are not to be moved."""
    files = _Files()
    mapped, found, other = dict[int, int](), dict[int, _Memory](), 0
    for tensor in tensors:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout != torch.strided:
            other += tensor.nbytes  # a quantiser's own kind
            continue
        storage = tensor.untyped_storage()
        if storage.data_ptr() in files:
            mapped[tensor.data_ptr()] = tensor.nbytes
        elif storage.nbytes():
            found.setdefault(storage.data_ptr(), _Memory(storage, [])).tensors.append(tensor)
    return sum(mapped.values()), list(found.values()), other


def _move(fd: int, parts: list[_Memory]) -> int:
    """Bytes that are in the file now. What is not the same there, to the bit, stays where it is."""
    ends = list(accumulate(-(-part.storage.nbytes() // _ALIGNED) * _ALIGNED for part in parts))
    empty = not os.fstat(fd).st_size
    if empty and parts:
        os.ftruncate(fd, ends[-1])
    if not parts or os.fstat(fd).st_size != ends[-1]:
        return 0
    file, mine = _bytes(mmap.mmap(fd, 0)), _bytes(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY))
    moved = 0
    for part, begin in zip(parts, [0, *ends], strict=False):
        own = _bytes(part.storage)
        if empty:
            file[begin : begin + len(own)].copy_(own)
        if not torch.equal(own, mine[begin : begin + len(own)]):
            continue
        moved += len(own)
        for tensor in part.tensors:
            place, offset = torch.empty(0, dtype=tensor.dtype), begin // tensor.itemsize + tensor.storage_offset()
            tensor.data = place.set_(mine.untyped_storage(), offset, tensor.size(), tensor.stride())
    return moved


def _bytes(memory_: Any) -> torch.Tensor:
    if isinstance(memory_, torch.UntypedStorage):
        return torch.empty(0, dtype=torch.uint8).set_(memory_)
    return torch.frombuffer(memory_, dtype=torch.uint8)


class _Files:
    """Where this process has files in its memory."""

    def __init__(self, maps: Path = _MAPS) -> None:
        self._ranges: list[tuple[int, int]] = []
        for line in maps.read_text().splitlines():
            addresses, _, _, _, inode, *_ = line.split(maxsplit=5)
            if inode != "0":
                begin, end = addresses.split("-")
                self._ranges.append((int(begin, 16), int(end, 16)))

    def __contains__(self, address: int) -> bool:
        at = bisect(self._ranges, (address, 2**64)) - 1
        return at >= 0 and address < self._ranges[at][1]
