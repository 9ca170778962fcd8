"""The bridge of the pods, its routes, and the rules that keep the cluster's packets on this machine."""

import json
from pathlib import Path

from . import paths
from .shell import run

# What we, the kubelet and kube-proxy change; written down before the first change, put back by cluster-down.
SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.all.route_localnet",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)
_RECORD = paths.RUN / "before.json"
_KUBE_PROXY_TABLES = ("ip kube-proxy", "ip6 kube-proxy")


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def remember_sysctls() -> None:
    """Writes down the values of SYSCTLS, unless an earlier run that was not cleaned up has done so."""
    if not _RECORD.exists():
        values = {name: _sysctl(name).read_text().strip() for name in SYSCTLS if _sysctl(name).exists()}
        _RECORD.write_text(json.dumps(values))


def restore_sysctls() -> None:
    """Puts back what `remember_sysctls` wrote down. A second call does nothing."""
    if not _RECORD.exists():
        return
    try:
        values = json.loads(_RECORD.read_text())
    except ValueError:
        values = {}
    for name, value in values.items():
        if _sysctl(name).exists() and _sysctl(name).read_text().strip() != value:
            _sysctl(name).write_text(value)
    _RECORD.unlink()


def up() -> None:
    """Makes bridge, addresses, routes and rules. Doing it again changes nothing."""
    if not Path("/sys/class/net", paths.BRIDGE).exists():
        run(["ip", "link", "add", paths.BRIDGE, "type", "bridge"])
    run(["ip", "address", "replace", f"{paths.NODE_IP}/24", "dev", paths.BRIDGE])
    run(["ip", "link", "set", paths.BRIDGE, "up"])
    # A packet to a Service without a backend must end here, not at the machine's default gateway.
    run(["ip", "route", "replace", paths.SERVICE_NETWORK, "dev", paths.BRIDGE])
    _sysctl("net.ipv4.ip_forward").write_text("1")
    if not run(["nft", "list", "table", "inet", paths.NFT_TABLE], check=False):
        run(["nft", "-f", "-"], stdin=_RULES)


# Nothing of the cluster goes out to a network, and nothing from a network comes in: pods, Services and the API have
# addresses that only this machine knows. Reject rather than drop, so that a pod that tries is told at once.
_RULES = f"""
table inet {paths.NFT_TABLE} {{
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    iifname "{paths.BRIDGE}" oifname != "{paths.BRIDGE}" counter reject with icmpx type admin-prohibited
    iifname != "{paths.BRIDGE}" oifname "{paths.BRIDGE}" counter drop
  }}
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    ip daddr {paths.POD_NETWORK} iifname != {{ "lo", "{paths.BRIDGE}" }} counter drop
  }}
}}
"""


def down() -> None:
    """Removes every interface, route and table of the cluster."""
    links = json.loads(run(["ip", "-json", "link", "show"]) or "[]")
    for link in links:
        if link.get("master") == paths.BRIDGE:
            run(["ip", "link", "delete", link["ifname"]], check=False)
    if Path("/sys/class/net", paths.BRIDGE).exists():
        run(["ip", "link", "delete", paths.BRIDGE])
    for table in (f"inet {paths.NFT_TABLE}", *_KUBE_PROXY_TABLES):
        # `add` before `delete`: no error when the table is not there.
        run(["nft", "-f", "-"], stdin=f"table {table}\ndelete table {table}\n", check=False)
