"""Certificates and kubeconfig files, made by openssl; they die with the cluster."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .shell import run

_DAYS = "3650"


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for. `organization` is the Kubernetes group; `names`: subject alternative names of a
    server.
    """

    file: str
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()


_SERVICE = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
IDENTITIES = (
    Identity(
        "apiserver",
        "kube-apiserver",
        names=(
            *(f"DNS:{n}" for n in (*_SERVICE, "localhost")),
            *(f"IP:{ip}" for ip in (paths.NODE_IP, "10.96.0.1", "127.0.0.1")),
        ),
    ),
    Identity("admin", "slipway-admin", "system:masters"),
    Identity("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
    Identity("front-proxy", "front-proxy-client"),
    Identity("controller-manager", "system:kube-controller-manager"),
    Identity("scheduler", "system:kube-scheduler"),
    Identity("kubelet", f"system:node:{paths.NODE}", "system:nodes", (f"DNS:{paths.NODE}", f"IP:{paths.NODE_IP}")),
    Identity("kube-proxy", "system:kube-proxy", "system:node-proxier"),
    Identity("coredns", "slipway:coredns"),
    Identity("local-path", "slipway:local-path-provisioner"),
    Identity(
        "metrics-server", "slipway:metrics-server", names=("DNS:metrics-server.kube-system.svc", f"IP:{paths.NODE_IP}")
    ),
)


def key(name: str) -> Path:
    """The private key of an identity."""
    return paths.PKI / f"{name}.key"


def certificate(name: str) -> Path:
    """The certificate of an identity, `ca` included."""
    return paths.PKI / f"{name}.crt"


def kubeconfig(name: str) -> Path:
    """The kubeconfig file of an identity."""
    return paths.PKI / f"{name}.kubeconfig"


def make() -> None:
    """Makes the authority, every identity's certificate and kubeconfig, and the ServiceAccount key."""
    paths.PKI.mkdir(parents=True, exist_ok=True, mode=0o700)
    _new_key("ca")
    run(
        [
            "openssl",
            "req",
            "-x509",
            "-new",
            "-key",
            key("ca"),
            "-out",
            certificate("ca"),
            "-days",
            _DAYS,
            "-subj",
            "/CN=slipway-cluster",
        ]
    )
    _new_key("service-accounts")
    with ThreadPoolExecutor() as pool:
        list(pool.map(_issue, IDENTITIES))


def _new_key(name: str) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key(name)])
    key(name).chmod(0o600)


def _issue(identity: Identity) -> None:
    _new_key(identity.file)
    subject = (f"/O={identity.organization}" if identity.organization else "") + f"/CN={identity.common_name}"
    request = run(["openssl", "req", "-new", "-key", key(identity.file), "-subj", subject])
    extensions = paths.PKI / f"{identity.file}.ext"
    usage = "serverAuth,clientAuth" if identity.names else "clientAuth"
    lines = ["keyUsage=digitalSignature", f"extendedKeyUsage={usage}"]
    if identity.names:
        lines.append(f"subjectAltName={','.join(identity.names)}")
    extensions.write_text("\n".join(lines) + "\n")
    signing: list[str | Path] = [
        "-CA",
        certificate("ca"),
        "-CAkey",
        key("ca"),
        "-days",
        _DAYS,
        "-extfile",
        extensions,
        "-out",
        certificate(identity.file),
    ]
    run(["openssl", "x509", "-req", *signing], stdin=request)
    kubeconfig(identity.file).write_text(_kubeconfig(identity))
    kubeconfig(identity.file).chmod(0o600)


def _kubeconfig(identity: Identity) -> str:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    # JSON is YAML, and the standard library writes it.
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "slipway",
                    "cluster": {"server": paths.API, "certificate-authority-data": data(certificate("ca"))},
                }
            ],
            "users": [
                {
                    "name": identity.common_name,
                    "user": {
                        "client-certificate-data": data(certificate(identity.file)),
                        "client-key-data": data(key(identity.file)),
                    },
                }
            ],
            "contexts": [{"name": "slipway", "context": {"cluster": "slipway", "user": identity.common_name}}],
            "current-context": "slipway",
        },
        indent=1,
    )
