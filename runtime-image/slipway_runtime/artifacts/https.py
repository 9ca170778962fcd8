"""https://host/x.tar.gz: fetched whole, its sha256 compared, and only then looked into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from slipway_runtime.artifacts.archives import Contents, Reader, contents
from slipway_runtime.artifacts.credentials import PARAM, read_secret
from slipway_runtime.artifacts.digests import sha256_of
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference
from slipway_runtime.artifacts.source import Entry, broke_off, make_room, wrong_digest
from slipway_runtime.artifacts.tars import TarReader
from slipway_runtime.artifacts.transfer import CHUNK, Body, transfer
from slipway_runtime.artifacts.web import BROKEN, Refused, guard
from slipway_runtime.artifacts.zips import ZipReader
from slipway_runtime.errors import ModelFault


class HttpsSource:
    """One archive."""

    def __init__(self, reference: Reference, plain_hosts: tuple[str, ...]) -> None:
        self.reference = reference
        self._host = urlsplit(reference.location).hostname or ""
        self._token = read_secret(reference.token_file, "token")
        self._session = guard(requests.Session(), self._host, plain_hosts)
        self._contents = Contents()
        self._asked: tuple[int, requests.Response] | None = None

    def resolve(self) -> str:
        """Its sha256, which the reference holds."""
        return f"sha256:{self.reference.sha256}"

    def list(self, downloads: Path, progress: Progress) -> Mapping[str, Entry]:
        path = urlsplit(self.reference.location).path
        archive = downloads / f"{self.reference.sha256}{'.zip' if path.endswith('.zip') else '.tar'}"
        with self._errors():
            self._download(archive, progress)
        found = sha256_of(archive)
        if found != self.reference.sha256:
            archive.unlink()
            raise wrong_digest("the archive", self.reference, found=found, wanted=self.reference.sha256)
        shown = self.reference.shown
        reader: Reader = ZipReader(archive, shown) if archive.suffix == ".zip" else TarReader(archive, shown)
        self._contents = contents(reader, shown)
        return {name: Entry(member.size) for name, (_, member) in self._contents.files.items()}

    def fetch(self, names: tuple[str, ...], folder: Path, progress: Progress) -> None:
        self._contents.extract(names, folder)
        progress.add(sum(self._contents.files[name][1].size for name in names))

    def close(self) -> None:
        if self._asked is not None:  # no room for it: its bytes were never read
            self._asked[1].close()
        self._session.close()

    def _download(self, archive: Path, progress: Progress) -> None:
        have = archive.stat().st_size if archive.exists() else 0
        head = self._get(have)
        if head.status_code == requests.codes.requested_range_not_satisfiable:  # it was whole already
            head.close()
            total: int | None = have
        else:
            self._asked, total = (have, head), _total(head)
        if total:
            progress.expect(total, already=min(have, total))
            make_room(archive.parent, total - have, self.reference)
        transfer(archive, total, self._open_at, progress, broken=BROKEN)

    def _open_at(self, offset: int) -> Body:
        asked, self._asked = self._asked, None
        response = asked[1] if asked and asked[0] == offset else self._get(offset)
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            response.close()
            raise EOFError("the file has become shorter")
        start = offset if response.status_code == requests.codes.partial_content else 0
        return Body(start, response.raw.stream(CHUNK, decode_content=False), response.close)

    def _get(self, offset: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}  # the digest is of the archive's own bytes
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"  # requests drops it where a redirect leaves the host
        response = self._session.get(self.reference.location, headers=headers, stream=True)
        if response.status_code not in (200, 206, 416):
            response.close()
            raise self._status(response.status_code)
        return response

    def _status(self, status: int) -> ModelFault:
        where = self.reference.shown
        if status in (401, 403):
            how = "with the given token" if self._token else "and no token is given: set model.tokenSecretRef"
            return ModelFault("ModelGated", f"access to {where} was refused (HTTP {status}) {how}", PARAM)
        if status in (404, 410):
            return ModelFault("ModelNotFound", f"{where} was not found (HTTP {status}): check model.uri", "model.uri")
        return ModelFault("SourceUnreachable", f"{where} answered HTTP {status}: it is tried again", "model.uri")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with web_errors(self.reference):
            yield


@contextmanager
def web_errors(reference: Reference) -> Iterator[None]:
    """Errors of requests and of the guard → ModelFault."""
    where = reference.shown
    try:
        yield
    except Refused as error:
        raise ModelFault("BadConfiguration", f"{where} leads where it may not: {error}", "model.uri") from None
    except requests.exceptions.SSLError:
        raise ModelFault(
            "SourceUnreachable",
            f"{where} has a certificate that is not trusted: name its authority's file in SSL_CERT_FILE",
            "model.uri",
        ) from None
    except requests.TooManyRedirects:
        raise ModelFault("SourceUnreachable", f"{where} redirects too often", "model.uri") from None
    except (*BROKEN, requests.RequestException, EOFError) as error:
        raise broke_off(reference, error) from None


def _total(response: requests.Response) -> int | None:
    """The file's length: of all of it, also where the response begins in the middle."""
    if response.status_code == requests.codes.partial_content:
        text = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None
