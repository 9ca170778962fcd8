"""From a reference to an artifact: which source, then the same steps for all (acquire.py)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts import AdapterFiles, Artifact
from slipway_runtime.artifacts.acquire import Wanted, acquire
from slipway_runtime.artifacts.adapter_list import NamedReference
from slipway_runtime.artifacts.folder import open_adapter, open_folder
from slipway_runtime.artifacts.lora import WEIGHTS, check_adapter, read_adapter, select_adapter
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference
from slipway_runtime.artifacts.safety import check_descriptions
from slipway_runtime.artifacts.selection import select
from slipway_runtime.artifacts.source import Source
from slipway_runtime.errors import ModelFault

Check = Callable[[dict[str, Any], tuple[str, ...]], None]


@dataclass(frozen=True)
class Surroundings:
    """What all sources need to know."""

    cache_dir: Path
    hf_endpoint: str
    plain_hosts: tuple[str, ...] = ()


def fetch_model(reference: Reference, around: Surroundings, progress: Progress, check: Check) -> Artifact:
    """One attempt. `check` sees config.json and the module names before the weights are fetched. Raises ModelFault."""
    if reference.kind == "path":
        return open_folder(reference.location, around.cache_dir, check)

    def check_files(folder: Path, name: str) -> None:
        check(*check_descriptions(folder, name))

    with closing(_source(reference, around)) as source:
        got = acquire(source, Wanted(select, check_files), around.cache_dir, progress)
    config, modules = check_descriptions(got.folder, reference.shown)
    name = reference.location if reference.kind == "hub" else reference.id
    return Artifact(
        folder=got.folder,
        id=name,
        revision=got.revision,
        config=config,
        modules=modules,
        size_bytes=got.size_bytes,
        offline=got.offline,
    )


def fetch_adapter(named: NamedReference, around: Surroundings) -> AdapterFiles:
    """One adapter, the same way. Faults name it."""
    reference = named.reference
    try:
        if reference.kind == "path":
            return open_adapter(named.name, reference.location)
        with closing(_source(reference, around)) as source:
            got = acquire(source, Wanted(select_adapter, check_adapter), around.cache_dir, Progress())
        return AdapterFiles(
            name=named.name,
            source=reference.shown,
            config=read_adapter(got.folder, reference.shown),
            weights=got.folder / WEIGHTS,
        )
    except ModelFault as fault:
        raise ModelFault(fault.reason, f"adapter {named.name}: {fault.message}", "model.adapters") from None


def _source(reference: Reference, around: Surroundings) -> Source:
    """The libraries come with the source that is used: they take long to import."""
    if reference.kind == "hub":
        from slipway_runtime.artifacts.hub import HubSource  # noqa: PLC0415

        return HubSource(reference, around.hf_endpoint)
    if reference.kind == "s3":
        from slipway_runtime.artifacts.s3 import S3Source  # noqa: PLC0415

        return S3Source(reference)
    if reference.kind == "oci":
        from slipway_runtime.artifacts.oci import OciSource  # noqa: PLC0415

        return OciSource(reference, around.plain_hosts)
    from slipway_runtime.artifacts.https import HttpsSource  # noqa: PLC0415

    return HttpsSource(reference, around.plain_hosts)
