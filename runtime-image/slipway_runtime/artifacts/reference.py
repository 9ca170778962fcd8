"""Where a model may come from, as text: the one place that reads model.uri. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Kind = Literal["hub", "path", "s3", "https", "oci"]

# owner/name as the Hub allows them; a name without an owner is a legacy form of the Hub ("gpt2").
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,254}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[\w!*'()./ -]{0,1000}))?", re.ASCII)
_OCI = re.compile(
    r"oci://(?P<registry>(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:)|\[[0-9a-fA-F:]+\])(?::\d+)?)"
    r"/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Reference:
    """One model or adapter, where it lies, and what is known of it before anybody is asked."""

    kind: Kind
    location: str
    """owner/name, a folder, or the whole URI."""
    revision: str = "main"
    """Of the Hub."""
    sha256: str = ""
    """Of an archive."""
    token_file: str = ""

    @property
    def shown(self) -> str:
        """How messages, logs and /status call it: without a query, which may hold a signature."""
        if self.kind == "hub":
            return f"{self.location}@{self.revision}"
        return shown(self.location)

    @property
    def id(self) -> str:
        """The model's id in /status and for callers."""
        return Path(self.location).name if self.kind == "path" else shown(self.location)

    @property
    def param(self) -> str:
        """The field of the spec that faults are about."""
        return "model.id" if self.kind == "hub" else "model.uri"

    @property
    def pinned(self) -> str | None:
        """The revision, where the reference itself holds it: then nobody needs to be asked what it is."""
        if self.kind == "hub":
            return self.revision if COMMIT.fullmatch(self.revision) else None
        if self.kind == "https":
            return f"sha256:{self.sha256}"
        return split_oci(self.location)[2] if self.kind == "oci" else None


def from_uri(uri: str, *, sha256: str, token_file: str, plain_hosts: tuple[str, ...]) -> Reference:
    """Read a model.uri. Raises ValueError with what is allowed; the sentence follows the variable's name and value."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme not in ("https", "http") and sha256:
        raise ValueError("a sha256 goes with https:// only; an oci:// reference holds it as @sha256:…")
    if scheme == "s3":
        split_s3(uri)
        return Reference("s3", uri, token_file=token_file)
    if scheme == "oci":
        split_oci(uri)
        return Reference("oci", uri, token_file=token_file)
    if scheme in ("https", "http"):
        _check_archive(uri, plain_hosts)
        if not sha256:
            raise ValueError("needs a sha256 beside it: an archive is only unpacked once its digest is right")
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"its sha256 is {sha256[:80]!r}: must be 64 hexadecimal digits in lower case")
        return Reference("https", uri, sha256=sha256, token_file=token_file)
    if scheme == "pvc":
        raise ValueError("a volume is mounted by the operator, which then sets SLIPWAY_MODEL_PATH to its folder")
    raise ValueError("must begin with s3://, https:// or oci://; a Hub repository is SLIPWAY_MODEL_ID")


def split_s3(uri: str) -> tuple[str, str]:
    """(bucket, prefix); the prefix is empty or ends with a slash. Raises ValueError."""
    match = _S3.fullmatch(uri)
    prefix = (match["prefix"] or "").strip("/") if match else ""
    if not match or ".." in prefix.split("/"):
        raise ValueError("must be s3://bucket/prefix")
    return match["bucket"], f"{prefix}/" if prefix else ""


def split_oci(uri: str) -> tuple[str, str, str | None, str | None]:
    """(registry, repository, digest, tag). Raises ValueError."""
    match = _OCI.fullmatch(uri)
    if not match or not (match["tag"] or match["digest"]):
        raise ValueError("must be oci://registry/repository:tag or oci://registry/repository@sha256:… (64 hex digits)")
    return match["registry"], match["repository"], match["digest"], match["tag"]


def _check_archive(uri: str, plain_hosts: tuple[str, ...]) -> None:
    parts = urlsplit(uri)
    if not parts.hostname or parts.fragment or not uri.isprintable() or " " in uri:
        raise ValueError("must be https://host/path")
    if parts.username or parts.password:
        raise ValueError("must hold no user or password; put a token into the file of SLIPWAY_MODEL_TOKEN_FILE")
    if not parts.path.endswith(ARCHIVES):
        raise ValueError(f"must end with {', '.join(ARCHIVES)}")
    if parts.scheme == "http" and not plain(parts.netloc, plain_hosts):
        raise ValueError(f"must be https://; plain HTTP only with {parts.netloc} in SLIPWAY_PLAIN_HTTP_HOSTS")


def plain(netloc: str, plain_hosts: tuple[str, ...]) -> bool:
    """Whether a host, with or without its port, is among those that are asked without TLS."""
    return netloc in plain_hosts or netloc.rpartition(":")[0] in plain_hosts


def shown(uri: str) -> str:
    """The URI without query and user."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return uri
    return urlunsplit(parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]))


def short_name(reference: Reference) -> str:
    """The last part of its place: distilbert for s3://models/distilbert/ or https://host/distilbert.tar.gz."""
    if reference.kind == "hub":
        return reference.location
    if reference.kind == "oci":
        return split_oci(reference.location)[1].rpartition("/")[2]
    name = PurePosixPath(urlsplit(reference.location).path.rstrip("/")).name or reference.shown
    suffix = next((suffix for suffix in ARCHIVES if name.endswith(suffix)), "")
    return name.removesuffix(suffix) if reference.kind == "https" else name
