"""s3://bucket/prefix, on any S3-compatible server, with boto3.

Region, endpoint and credentials may come from the variables and files that boto3 knows (AWS_ENDPOINT_URL_S3,
AWS_REGION, web identity); the token file goes before them. Without any credentials requests are not signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slipway_runtime.artifacts.credentials import PARAM, read_aws
from slipway_runtime.artifacts.digests import sha256_of
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.artifacts.reference import Reference, split_s3
from slipway_runtime.artifacts.source import Entry, broke_off, wrong_digest
from slipway_runtime.artifacts.transfer import CHUNK, Body, transfer
from slipway_runtime.errors import ModelFault

MOST_OBJECTS = 20_000
_MD5_LENGTH = 32
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401", "403")
_ABSENT = ("NoSuchBucket", "NoSuchKey", "404")


class S3Source:
    """The objects below a prefix."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._bucket, self._prefix = split_s3(reference.location)
        self._keys = read_aws(reference.token_file)
        self._client_object: Any = None
        self._etags: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    @property
    def _client(self) -> Any:
        if self._client_object is None:
            self._client_object = self._make_client()
        return self._client_object

    def _make_client(self) -> Any:
        import boto3  # type: ignore[import-untyped] # noqa: PLC0415 - in the download's thread, not before the port opens
        from botocore import UNSIGNED  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.config import Config  # type: ignore[import-untyped] # noqa: PLC0415

        keys = self._keys
        session = boto3.Session(keys.access, keys.secret, keys.session) if keys is not None else boto3.Session()
        signed = keys is not None or session.get_credentials() is not None
        own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=4,
            # Servers other than Amazon's seldom have a name of its own for each bucket.
            s3={"addressing_style": "path"} if own else None,
            signature_version=None if signed else UNSIGNED,
            response_checksum_validation="when_required",  # `_check` does it, also of what came in pieces
            user_agent_extra="slipway",
        )
        return session.client(
            "s3",
            region_name=session.region_name or "us-east-1",
            config=config,
            verify=os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None,
        )

    def resolve(self) -> str:
        """A digest over names, sizes and etags: it changes when any object does."""
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._prefix)
                    self._etags[name] = found.get("ETag", "").strip('"')
                    self._sizes[name] = int(found["Size"])
                if len(self._sizes) > MOST_OBJECTS:
                    raise ModelFault(
                        "BadConfiguration",
                        f"{self.reference.shown} has more than {MOST_OBJECTS} objects: name the model's own prefix",
                        "model.uri",
                    )
        if not self._sizes:
            raise ModelFault(
                "ModelNotFound", f"{self.reference.shown} has no objects: check bucket and prefix", "model.uri"
            )
        listing = "\n".join(f"{name}\0{self._sizes[name]}\0{self._etags[name]}" for name in sorted(self._sizes))
        return f"etags:{hashlib.sha256(listing.encode()).hexdigest()}"

    def list(self, downloads: Path, progress: Progress) -> Mapping[str, Entry]:  # noqa: ARG002 - `resolve` has listed
        return {name: Entry(size) for name, size in self._sizes.items()}

    def fetch(self, names: tuple[str, ...], folder: Path, progress: Progress) -> None:
        """One after the other: each is one long stream."""
        for name in names:
            target = folder / name
            if not (target.is_file() and target.stat().st_size == self._sizes[name]):
                self._one(name, target, progress)

    def close(self) -> None:
        if self._client_object is not None:
            self._client_object.close()

    def _one(self, name: str, target: Path, progress: Progress) -> None:
        from botocore.exceptions import ConnectionError as Unconnected  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.exceptions import HTTPClientError, IncompleteReadError  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        part = target.with_name(f"{target.name}.part")
        progress_before = part.stat().st_size if part.exists() else 0
        progress.add(progress_before)
        broken = (Unconnected, HTTPClientError, IncompleteReadError, HTTPError, ConnectionError, TimeoutError)
        with self._errors():
            about = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name, ChecksumMode="ENABLED")
            transfer(part, self._sizes[name], lambda at: self._open_at(name, at), progress, broken=broken)
            self._check(name, part, about)
        part.replace(target)

    def _open_at(self, name: str, offset: int) -> Body:
        ranged = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._client.get_object(
            Bucket=self._bucket, Key=self._prefix + name, IfMatch=self._etags[name], **ranged
        )
        start = offset if "ContentRange" in answer else 0
        return Body(start, answer["Body"].iter_chunks(CHUNK), answer["Body"].close)

    def _check(self, name: str, part: Path, about: dict[str, Any]) -> None:
        """By the server's sha256 of the whole object, else by an etag that is an MD5, else by its CRC32."""
        etag, plain = self._etags[name], about.get("ServerSideEncryption", "AES256") == "AES256"
        if wanted := _whole(about.get("ChecksumSHA256")):
            kind, found = "sha256", sha256_of(part)
        elif len(etag) == _MD5_LENGTH and plain:
            kind, wanted = "md5", etag
            with part.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        elif wanted := _whole(about.get("ChecksumCRC32")):
            kind, found = "crc32", _crc32(part)
        else:
            return
        if found != wanted:
            part.unlink()
            raise wrong_digest(name, self.reference, kind=kind, found=found, wanted=wanted)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """botocore's errors → ModelFault; theirs hold request ids and host names."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, SSLError  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        where = self.reference.shown
        try:
            yield
        except ClientError as error:
            raise self._refusal(str(error.response.get("Error", {}).get("Code", "")), error) from None
        except NoCredentialsError:
            raise ModelFault("ModelGated", f"{where} needs credentials: set model.tokenSecretRef", PARAM) from None
        except SSLError:
            raise ModelFault(
                "SourceUnreachable",
                f"the server of {where} has a certificate that is not trusted: name its authority's file in "
                "AWS_CA_BUNDLE",
                "model.uri",
            ) from None
        except (BotoCoreError, HTTPError, ConnectionError, TimeoutError, EOFError) as error:
            raise broke_off(self.reference, error) from None

    def _refusal(self, code: str, error: Any) -> ModelFault:
        where = self.reference.shown
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in _DENIED or status in (401, 403):
            given = "with the given credentials" if self._keys else "without credentials of its own"
            return ModelFault(
                "ModelGated",
                f"access to {where} was refused {given} ({code[:60]}): put keys that may list and read it into the "
                "Secret of model.tokenSecretRef",
                PARAM,
            )
        if code in _ABSENT:
            return ModelFault(
                "ModelNotFound", f"{where} was not found ({code[:60]}): check bucket and prefix", "model.uri"
            )
        if code in ("PreconditionFailed", "412"):
            return ModelFault(
                "SourceUnreachable", f"{where} changed while it was fetched: it is tried again", "model.uri"
            )
        return ModelFault(
            "SourceUnreachable", f"{where} answered {code[:60]} (HTTP {status}): it is tried again", "model.uri"
        )


def _whole(checksum: str | None) -> str:
    """As hexadecimal; "" where there is none, or only one over the checksums of an upload's parts, or no base64."""
    try:
        return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else ""
    except binascii.Error:
        return ""


def _crc32(path: Path) -> str:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1024**2):
            value = zlib.crc32(chunk, value)
    return f"{value:08x}"
