"""Fetch from the Hub or a mirror, with huggingface_hub alone (it loads in a fifth of torch's time, so both overlap).

One attempt: read the token → resolve the revision to a commit → list files → select → fetch descriptions and check
them → fetch weights and check them. Files land in a folder per commit, so an interrupted attempt continues where it
was; within one file huggingface_hub continues by byte range.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.safety import check_descriptions
from slipway_runtime.artifacts.selection import select
from slipway_runtime.artifacts.weights import CorruptWeights, check_weights
from slipway_runtime.errors import ModelFault

PARALLEL_FILES = 4  # more do not help one disk, and a mirror in the cluster is shared


@dataclass(frozen=True)
class HubSource:
    """A repository, a revision, where from, and where to."""

    id: str
    revision: str
    endpoint: str
    token_file: str
    cache_dir: Path


Check = Callable[[dict[str, Any], tuple[str, ...]], None]


def fetch(source: HubSource, progress: Progress, check: Check) -> Artifact:
    """One attempt. `check` sees config.json and the module names before the weights are fetched. Raises ModelFault."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - in the download's thread, not before the port opens
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

    name = f"{source.id}@{source.revision}"
    token = read_token(source.token_file)
    api = HfApi(endpoint=source.endpoint, token=token or False, library_name="slipway")
    with _hub_errors(source, has_token=bool(token)):
        commit = api.model_info(source.id, revision=source.revision, timeout=30).sha
        if commit is None:
            raise ModelFault(
                "SourceUnreachable", f"{source.endpoint} gave no commit for {name}: is it a Hub mirror?", "model.id"
            )
        tree = api.list_repo_tree(source.id, revision=commit, recursive=True)
        sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
        selection = select(sizes, name)
        folder = source.cache_dir / "models" / source.id.replace("/", "--") / commit

        def download(path: str) -> None:
            api.hf_hub_download(source.id, path, revision=commit, local_dir=folder, tqdm_class=progress.bar())

        _each(download, selection.descriptions)
        config, modules = check_descriptions(folder, name)
        check(config, modules)
        _expect(progress, folder, {path: sizes[path] for path in (*selection.descriptions, *selection.weights)})
        _each(download, selection.weights)
    try:
        size = check_weights(folder, selection.weights, name)
    except CorruptWeights as fault:
        for path in fault.files:
            path.unlink(missing_ok=True)
        raise
    return Artifact(folder=folder, id=source.id, revision=commit, config=config, modules=modules, size_bytes=size)


def read_token(path: str) -> str:
    """The token, or "" where no file is set. A file that is named but missing is a fault: the pod's Secret is wrong."""
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ModelFault(
            "ModelGated",
            f"the token file {path} cannot be read ({error.strerror}): check that the Secret of model.tokenSecretRef "
            "has the key",
            "model.tokenSecretRef",
        ) from None


def _each(download: Callable[[str], None], paths: tuple[str, ...]) -> None:
    with ThreadPoolExecutor(PARALLEL_FILES, thread_name_prefix="download") as pool:
        for _ in pool.map(download, paths):
            pass


def _expect(progress: Progress, folder: Path, sizes: dict[str, int]) -> None:
    already = {path: size for path, size in sizes.items() if (folder / path).is_file()}
    missing = sum(sizes.values()) - sum(already.values())
    progress.expect(sum(sizes.values()), already=sum(already.values()))
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if missing > free:  # said before gigabytes have moved
        raise ModelFault(
            "NoSpace",
            f"the model needs {missing} bytes more in the cache, {free} are free: enlarge the cache volume",
            "cache",
        )


@contextmanager
def _hub_errors(source: HubSource, *, has_token: bool) -> Iterator[None]:
    """huggingface_hub's and the socket's errors → ModelFault. The texts are our own.

    Theirs hold URLs and request ids.
    """
    import httpx2  # noqa: PLC0415 - what huggingface_hub speaks HTTP with
    from huggingface_hub import errors as hub  # noqa: PLC0415

    where = f"{source.id} at {source.endpoint}"
    try:
        yield
    except ModelFault:
        raise
    except hub.GatedRepoError:
        raise ModelFault("ModelGated", _gated(where, has_token=has_token), "model.tokenSecretRef") from None
    except hub.RevisionNotFoundError:
        raise ModelFault(
            "ModelNotFound",
            f"{where} has no revision {source.revision!r}: set model.revision to one of its branches, tags or commits",
            "model.revision",
        ) from None
    except hub.RepositoryNotFoundError as error:
        hint = "check the spelling of model.id"
        if not has_token:
            hint += ", or, if it is private, set model.tokenSecretRef to a Secret with a token that may read it"
        status = error.response.status_code
        raise ModelFault("ModelNotFound", f"{where} was not found (HTTP {status}): {hint}", "model.id") from None
    except hub.HfHubHTTPError as error:
        raise _http_fault(error.response.status_code, where, has_token=has_token) from None
    except (httpx2.HTTPError, hub.LocalEntryNotFoundError, hub.FileMetadataError) as error:
        raise ModelFault(
            "SourceUnreachable",
            f"{source.endpoint} cannot be reached for {source.id} ({type(error).__name__}): check HF_ENDPOINT and the "
            "network; it is tried again",
            "model.id",
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelFault(
                "NoSpace", f"no space left in the cache while fetching {source.id}: enlarge the cache volume", "cache"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise ModelFault(
                "BadConfiguration",
                f"SLIPWAY_CACHE_DIR={str(source.cache_dir)!r} cannot be written ({error.strerror})",
                "cache",
            ) from None
        raise ModelFault(
            "SourceUnreachable", f"fetching {where} broke off ({type(error).__name__}): it is tried again", "model.id"
        ) from None


def _http_fault(status: int, where: str, *, has_token: bool) -> ModelFault:
    if status in (401, 403):
        return ModelFault("ModelGated", _gated(where, has_token=has_token), "model.tokenSecretRef")
    return ModelFault("SourceUnreachable", f"{where} answered HTTP {status}: it is tried again", "model.id")


def _gated(where: str, *, has_token: bool) -> str:
    if has_token:
        return (
            f"access to {where} was refused with the given token: accept the model's terms on its page with the "
            "token's account, or put a token that may read it into the Secret of model.tokenSecretRef"
        )
    return (
        f"{where} is gated and no token is given: accept the model's terms on its page and set model.tokenSecretRef "
        "to a Secret with a token that may read it"
    )
