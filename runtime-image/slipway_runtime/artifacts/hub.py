"""The Hub or a mirror, with huggingface_hub alone (it loads in a fifth of torch's time, so both overlap).

Files land in a folder per commit, so an interrupted attempt continues where it was; within one file huggingface_hub
continues by byte range.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts.credentials import read_secret
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference
from slipway_runtime.artifacts.source import Entry, broke_off
from slipway_runtime.errors import ModelFault

COMMITS = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)  # mirrors have names of their own for them
PARALLEL_FILES = 4  # more do not help one disk, and a mirror in the cluster is shared


class HubSource:
    """A repository at a revision."""

    def __init__(self, reference: Reference, endpoint: str) -> None:
        self.reference = reference
        self._endpoint = endpoint
        self._commit = ""
        self._token = read_secret(reference.token_file, "token")
        self._api_object: Any = None

    @property
    def _api(self) -> Any:
        if self._api_object is None:
            from huggingface_hub import HfApi  # noqa: PLC0415 - in the download's thread, not before the port opens

            self._api_object = HfApi(endpoint=self._endpoint, token=self._token or False, library_name="slipway")
        return self._api_object

    def resolve(self) -> str:
        """The commit."""
        with self._errors():
            name, revision = self.reference.location, self.reference.revision
            commit: str | None = self._api.model_info(name, revision=revision, timeout=30).sha
        if commit is None or not COMMITS.fullmatch(commit):  # it becomes the name of a folder
            raise ModelFault(
                "SourceUnreachable",
                f"{self._endpoint} gave no commit for {self.reference.shown}: is it a Hub mirror?",
                "model.id",
            )
        self._commit = commit
        return commit

    def list(self, downloads: Path, progress: Progress) -> Mapping[str, Entry]:  # noqa: ARG002 - the listing is a request
        """The tree at the commit. Files in LFS, so all weights, come with their sha256."""
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        with self._errors():
            tree = self._api.list_repo_tree(self.reference.location, revision=self._commit, recursive=True)
            files = [entry for entry in tree if isinstance(entry, RepoFile)]
        return {file.path: Entry(file.size, file.lfs.sha256 if file.lfs else None) for file in files}

    def fetch(self, names: tuple[str, ...], folder: Path, progress: Progress) -> None:
        """Several files at once."""

        def download(name: str) -> None:
            self._api.hf_hub_download(
                self.reference.location, name, revision=self._commit, local_dir=folder, tqdm_class=progress.bar()
            )

        with self._errors(), ThreadPoolExecutor(PARALLEL_FILES, thread_name_prefix="download") as pool:
            for _ in pool.map(download, names):
                pass

    def close(self) -> None:
        """huggingface_hub keeps one session for the process."""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with _hub_errors(self.reference, self._endpoint, has_token=bool(self._token)):
            yield


@contextmanager
def _hub_errors(reference: Reference, endpoint: str, *, has_token: bool) -> Iterator[None]:
    """huggingface_hub's errors → ModelFault. The texts are our own.

    Theirs hold URLs and request ids.
    """
    import httpx2  # noqa: PLC0415 - what huggingface_hub speaks HTTP with
    from huggingface_hub import errors as hub  # noqa: PLC0415

    where = f"{reference.location} at {endpoint}"
    try:
        yield
    except ModelFault:
        raise
    except hub.GatedRepoError:
        raise ModelFault("ModelGated", _gated(where, has_token=has_token), "model.tokenSecretRef") from None
    except hub.RevisionNotFoundError:
        raise ModelFault(
            "ModelNotFound",
            f"{where} has no revision {reference.revision!r}: set model.revision to one of its branches, tags or "
            "commits",
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
    except (httpx2.HTTPError, hub.LocalEntryNotFoundError, hub.FileMetadataError, hub.OfflineModeIsEnabled) as error:
        raise ModelFault(
            "SourceUnreachable",
            f"{endpoint} cannot be reached for {reference.location} ({type(error).__name__}): check HF_ENDPOINT and "
            "the network; it is tried again",
            "model.id",
        ) from None
    except ConnectionError as error:
        raise broke_off(reference, error) from None


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
