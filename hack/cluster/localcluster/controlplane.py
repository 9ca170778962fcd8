"""etcd, API server, controller manager and scheduler as processes of this machine."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from . import paths, pki, processes, tools
from .say import eventually
from .shell import run

AUDIT_LOG = paths.STATE / "audit.log"

# Metadata is user, verb, resource and response code of every request, no bodies: enough to compare verbs used with
# verbs granted.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def answers(url: str) -> bool:
    """Whether a plain-HTTP URL of this machine answers with 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            status: int = response.status
            return 200 <= status < 300
    except (OSError, urllib.error.HTTPError):
        return False


def kubectl(*words: str, stdin: str | None = None, check: bool = True) -> str:
    """Runs our kubectl as the cluster's administrator."""
    return run([tools.binary("kubectl"), "--kubeconfig", pki.kubeconfig("admin"), *words], stdin=stdin, check=check)


def api_ready() -> bool:
    """Whether the API server says that it is ready."""
    return kubectl("get", "--raw", "/readyz", "--request-timeout=5s", check=False).strip() == "ok"


def start_etcd() -> None:
    """etcd on a folder that dies with the cluster, therefore without fsync."""
    client, peer = f"http://127.0.0.1:{paths.ETCD_PORT}", f"http://127.0.0.1:{paths.ETCD_PEER_PORT}"
    processes.start(
        "etcd",
        [
            tools.binary("etcd"),
            "--name=slipway",
            f"--data-dir={paths.STATE / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=slipway={peer}",
            "--log-level=warn",
        ],
    )


def etcd_ready() -> bool:
    """Whether etcd serves."""
    return answers(f"http://127.0.0.1:{paths.ETCD_PORT}/health")


def start_apiserver() -> None:
    """kube-apiserver on the bridge's address only: pods and this machine reach it, nobody else."""
    policy = paths.STATE / "audit-policy.json"
    policy.write_text(json.dumps(_AUDIT_POLICY))
    certificate, key = pki.certificate, pki.key
    processes.start(
        "kube-apiserver",
        [
            tools.binary("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{paths.ETCD_PORT}",
            f"--bind-address={paths.NODE_IP}",
            f"--advertise-address={paths.NODE_IP}",
            "--secure-port=6443",
            f"--tls-cert-file={certificate('apiserver')}",
            f"--tls-private-key-file={key('apiserver')}",
            f"--client-ca-file={certificate('ca')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={paths.SERVICE_NETWORK}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={key('service-accounts')}",
            f"--service-account-signing-key-file={key('service-accounts')}",
            # The node's name does not resolve: without this, `kubectl logs` fails.
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={certificate('apiserver-kubelet')}",
            f"--kubelet-client-key={key('apiserver-kubelet')}",
            f"--kubelet-certificate-authority={certificate('ca')}",
            # For metrics-server and other aggregated APIs.
            f"--requestheader-client-ca-file={certificate('ca')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={certificate('front-proxy')}",
            f"--proxy-client-key-file={key('front-proxy')}",
            "--enable-aggregator-routing=true",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={AUDIT_LOG}",
            "--audit-log-maxsize=200",
            "--audit-log-maxbackup=2",
            # A test cluster ends without ceremony: no waiting for clients at shutdown.
            "--shutdown-delay-duration=0s",
        ],
    )


def start_controller_manager() -> None:
    """kube-controller-manager, the only one, therefore without an election."""
    processes.start(
        "kube-controller-manager",
        [
            tools.binary("kube-controller-manager"),
            f"--kubeconfig={pki.kubeconfig('controller-manager')}",
            f"--authentication-kubeconfig={pki.kubeconfig('controller-manager')}",
            f"--authorization-kubeconfig={pki.kubeconfig('controller-manager')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki.certificate('ca')}",
            f"--service-account-private-key-file={pki.key('service-accounts')}",
            f"--cluster-signing-cert-file={pki.certificate('ca')}",
            f"--cluster-signing-key-file={pki.key('ca')}",
            # Tests delete many namespaces; the default of 10 at a time is for large clusters.
            "--concurrent-namespace-syncs=5",
        ],
    )


def start_scheduler() -> None:
    """kube-scheduler, the only one."""
    processes.start(
        "kube-scheduler",
        [
            tools.binary("kube-scheduler"),
            f"--kubeconfig={pki.kubeconfig('scheduler')}",
            f"--authentication-kubeconfig={pki.kubeconfig('scheduler')}",
            f"--authorization-kubeconfig={pki.kubeconfig('scheduler')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ],
    )


def ensure() -> None:
    """Starts what of the control plane does not run; returns when the API server is ready."""
    if not processes.alive("etcd"):
        start_etcd()
    eventually(etcd_ready, "etcd serves", 60, lambda: processes.died("etcd"))
    if not processes.alive("kube-apiserver"):
        start_apiserver()
    eventually(api_ready, "the API server is ready", 120, lambda: processes.died("kube-apiserver"))
    if not processes.alive("kube-controller-manager"):
        start_controller_manager()
    if not processes.alive("kube-scheduler"):
        start_scheduler()


def publish_kubeconfig() -> None:
    """Puts the administrator's kubeconfig, and links to audit log and logs, into the checkout."""
    paths.CHECKOUT.mkdir(parents=True, exist_ok=True)
    fresh = paths.KUBECONFIG.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(pki.kubeconfig("admin").read_bytes())
    fresh.replace(paths.KUBECONFIG)
    for name, target in (("audit.log", AUDIT_LOG), ("logs", paths.LOGS)):
        link: Path = paths.CHECKOUT / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
