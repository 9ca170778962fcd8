"""A real S3 server (versitygw) on loopback, over a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.control_plane import binary
from tests.support.runtime_server import free_ports
from tests.support.waiting import eventually

ACCESS, SECRET = "tests-access-key", "tests-secret-key-of-this-run"


@dataclass(frozen=True)
class S3:
    """The server's address; the keys above let in."""

    url: str

    def client(self) -> Any:
        import boto3  # type: ignore[import-untyped]

        session = boto3.Session(ACCESS, SECRET)
        return session.client("s3", endpoint_url=self.url, region_name="us-east-1")

    def upload(self, folder: Path, bucket: str, prefix: str, **options: Any) -> None:
        """All files of a folder below a prefix; makes the bucket."""
        client = self.client()
        try:
            if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=bucket)
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                key = f"{prefix}/{path.relative_to(folder)}"
                client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), **options)
        finally:
            client.close()


@contextmanager
def s3_server(folder: Path, *, port: int = 0) -> Iterator[S3]:
    """Run one, its data in `folder`."""
    for name in ("data", "meta"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{port or free_ports(1)[0]}"
    command = [binary("versitygw"), "--port", host, "--access", ACCESS, "--secret", SECRET, "--quiet",
               "posix", "--sidecar", str(folder / "meta"), str(folder / "data")]  # fmt: skip
    with (
        (folder / "s3.log").open("wb") as log,
        subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: httpx.get(f"http://{host}/").status_code, retry=(httpx.TransportError,))
            yield S3(f"http://{host}")
        finally:
            process.kill()
