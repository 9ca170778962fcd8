"""Services and names: kube-proxy and CoreDNS as processes of this machine."""

import json

from . import paths, pki, processes, tools
from .controlplane import answers
from .say import eventually


def ensure_proxy() -> None:
    """kube-proxy with nftables: no kernel modules, and two tables that are easy to remove."""
    if processes.alive("kube-proxy"):
        return
    configuration = paths.STATE / "kube-proxy.json"
    configuration.write_text(
        json.dumps(
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "nftables",
                "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
                "hostnameOverride": paths.NODE,
                "bindAddress": paths.NODE_IP,
                "healthzBindAddress": "127.0.0.1:10256",
                "metricsBindAddress": "127.0.0.1:10249",
                "nodePortAddresses": [f"{paths.NODE_IP}/32"],
                # The connection table belongs to the machine: leave its size and timeouts alone.
                "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
                "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"},
            }
        )
    )
    processes.start("kube-proxy", [tools.binary("kube-proxy"), f"--config={configuration}"])


def ensure_dns() -> None:
    """CoreDNS on the bridge's address. No `forward`: a name outside the cluster does not exist here."""
    if not processes.alive("coredns"):
        configuration = paths.STATE / "Corefile"
        credentials = f"{pki.certificate('coredns')} {pki.key('coredns')} {pki.certificate('ca')}"
        configuration.write_text(
            f""".:53 {{
  bind {paths.NODE_IP}
  errors
  ready 127.0.0.1:18181
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    endpoint {paths.API}
    tls {credentials}
    pods insecure
    ttl 2
  }}
}}
"""
        )
        processes.start("coredns", [tools.binary("coredns"), "-conf", configuration])
    eventually(
        lambda: answers("http://127.0.0.1:18181/ready"), "CoreDNS is ready", 60, lambda: processes.died("coredns")
    )
