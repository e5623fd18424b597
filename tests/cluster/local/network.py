"""The node's network: an address that pods can reach, and their way out.

The address sits on the loopback device, so it is there whatever network the machine is on; each pod has a pair of
devices of its own (CNI `ptp`); one nft rule gives pods the machine's address towards the outside.
"""

import json
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from tests.cluster import shell
from tests.cluster.local.settings import Settings
from tests.cluster.problem import Problem

RULES = """
table ip {name} {{}}
delete table ip {name}
table ip {name} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {pods} ip daddr != {{ {pods}, {node}/32 }} masquerade
  }}
}}
"""
_LISTENING = "0A"  # as /proc/net/tcp has it
PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))
"""kube-proxy's rules, which are machine-wide and outlive it."""


def up(settings: Settings) -> None:
    shell.run(["ip", "address", "replace", f"{settings.node_ip}/32", "dev", "lo"])
    shell.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    rules = RULES.format(name=settings.name, pods=settings.pod_cidr, node=settings.node_ip)
    shell.run(["nft", "-f", "-"], stdin=rules)


def down(settings: Settings) -> None:
    for family, table in (("ip", settings.name), *PROXY_TABLES):
        shell.run(["nft", "delete", "table", family, table], check=False)
    shell.run(["ip", "address", "del", f"{settings.node_ip}/32", "dev", "lo"], check=False)


def forwarding_is_dropped() -> bool:
    """A Docker engine sets the machine's FORWARD policy to DROP, and pods would reach nothing."""
    done = shell.run(["nft", "list", "chain", "ip", "filter", "FORWARD"], check=False)
    return done.returncode == 0 and "policy drop" in done.stdout


def nameservers(resolv_conf: Path = Path("/etc/resolv.conf")) -> bool:
    """Is there a server to forward other names to? CoreDNS does not start on a file without one."""
    try:
        return any(line.split()[:1] == ["nameserver"] for line in resolv_conf.read_text().splitlines())
    except OSError:
        return False


def must_be_free(settings: Settings, patience: float = 3) -> None:
    """Say clearly what is taken, before something half-started says it obscurely. Ask while our own cluster is down.

    The kernel takes down the devices of pods that have just ended in its own time: hence the patience.
    """
    deadline = time.monotonic() + patience
    while True:
        routes = json.loads(shell.output(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
        if not (problem := taken_route(settings, [route["dst"] for route in routes]) or _taken_port(settings)):
            return
        if time.monotonic() > deadline:
            raise Problem(problem)
        time.sleep(0.1)


def taken_route(settings: Settings, routes: Iterable[str]) -> str:
    """What to say if the machine has a route inside our networks. A wider one is no harm: the narrower wins."""
    wanted = {
        "CLUSTER_NODE_IP": IPv4Network(f"{settings.node_ip}/32"),
        "CLUSTER_POD_CIDR": IPv4Network(settings.pod_cidr),
        "CLUSTER_SERVICE_CIDR": IPv4Network(settings.service_cidr),
    }
    for route in routes:
        taken = IPv4Network("0.0.0.0/0" if route == "default" else route, strict=False)
        for variable, network in wanted.items():
            if taken.subnet_of(network):
                return (
                    f"the addresses {network} are taken: this machine has a route to {taken}."
                    f" Choose other addresses with {variable}"
                )
    return ""


def _taken_port(settings: Settings) -> str:
    """What to say if somebody listens where the cluster will."""
    for address, port in settings.listening():
        if address == settings.node_ip:
            if everywhere(port):
                return f"port {port} is taken on all addresses of this machine; the local cluster needs it"
        elif _listens(address, port):
            return f"port {port} on {address} is taken; choose the first of four free ones with CLUSTER_PORTS"
    return ""


def everywhere(port: int) -> bool:
    """Does anybody have this port at every address? Who has it at one of their own, as the control planes of tests do,
    is in nobody's way."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                address, _, number = local.partition(":")
                if state == _LISTENING and set(address) == {"0"} and int(number, 16) == port:
                    return True
    return False


def _listens(address: str, port: int) -> bool:
    """Does anybody have this port at this very address?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what lingers from before is no listener
        try:
            probe.bind((address, port))
        except OSError:
            return True
    return False
