"""Throw-away certificates for the API server of the tests, made with the openssl command (in every Debian)."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Without a configuration of its own openssl reads the machine's and adds extensions that contradict ours.
_CONFIG = "[req]\ndistinguished_name = dn\n[dn]\n"
_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


class Authority:
    """A certificate authority whose files lie in `folder`; it signs servers' and users' certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "openssl.cnf").write_text(_CONFIG)
        self._request("ca", "/CN=slipway-tests", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"])

    def server(self, name: str, *addresses: str) -> tuple[Path, Path]:
        """Certificate and key for a server that is reached at `addresses` (as in "IP:127.0.0.1", "DNS:localhost")."""
        return self._signed(
            name, f"/CN={name}", [f"subjectAltName={','.join(addresses)}", "extendedKeyUsage=serverAuth"]
        )

    def user(self, name: str, *groups: str) -> tuple[Path, Path]:
        """Certificate and key that Kubernetes takes for the user `name` in `groups`."""
        escaped = [part.replace("/", r"\/") for part in (name, *groups)]
        subject = f"/CN={escaped[0]}" + "".join(f"/O={group}" for group in escaped[1:])
        file = "".join(c if c.isalnum() else "-" for c in "-".join((name, *groups)))
        return self._signed(f"user-{file}", subject, ["extendedKeyUsage=clientAuth"])

    def signing_keys(self) -> tuple[Path, Path]:
        """Private and public key: what the API server signs and checks service account tokens with."""
        private, public = self.folder / "service-accounts.key", self.folder / "service-accounts.pub"
        if not public.exists():
            curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
            subprocess.run(["openssl", "genpkey", *curve, "-out", private], check=True, capture_output=True)
            subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        return private, public

    def _signed(self, file: str, subject: str, extensions: list[str]) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        if not certificate.exists():
            leaf = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", *extensions]
            self._request(file, subject, leaf, "-CA", str(self.certificate), "-CAkey", str(self.folder / "ca.key"))
        return certificate, key

    def _request(self, file: str, subject: str, extensions: list[str], *more: str) -> None:
        added = [word for extension in extensions for word in ("-addext", extension)]
        command = ["openssl", "req", "-x509", "-config", str(self.folder / "openssl.cnf"), *_NEW_KEY, "-subj", subject]
        files = ["-keyout", str(self.folder / f"{file}.key"), "-out", str(self.folder / f"{file}.crt")]
        subprocess.run([*command, *added, *more, *files], check=True, capture_output=True)
