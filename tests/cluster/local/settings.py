"""What the local cluster is called, and which addresses it takes from this machine."""

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tests.cluster import apt, digests, paths
from tests.cluster.problem import Problem

SOCKET_PATH_LIMIT = 107
"""The kernel's limit for the path of a Unix socket (sun_path, less its closing zero)."""


@dataclass(frozen=True)
class Settings:
    """Everything that start, stop and the tests must agree on."""

    directory: Path
    node_ip: str
    pod_cidr: str
    service_cidr: str
    first_port: int
    cni_bin: Path
    name: str = paths.PRODUCT
    """Of the control group and the nft table: each directory has its own, so that no cluster sweeps up another."""
    node_name: str = "node1"
    loopback: str = "127.0.0.1"
    """Where its components listen for each other."""

    @property
    def api_ip(self) -> str:
        """What `kubernetes.default` resolves to: by convention the first address for services."""
        return str(IPv4Network(self.service_cidr)[1])

    @property
    def api_url(self) -> str:
        return f"https://{self.node_ip}:6443"

    @property
    def socket(self) -> Path:
        return self.directory / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig" / "admin"

    @property
    def etcd_port(self) -> int:
        return self.first_port

    @property
    def etcd_peer_port(self) -> int:
        return self.first_port + 1

    @property
    def proxy_metrics_port(self) -> int:
        return self.first_port + 2

    @property
    def dns_ready_port(self) -> int:
        return self.first_port + 3

    def listening(self) -> list[tuple[str, int]]:
        """Every address that the cluster listens on."""
        ports = range(self.first_port, self.first_port + 4)
        return [(self.node_ip, 6443), (self.node_ip, 10250), (self.node_ip, 53), *((self.loopback, p) for p in ports)]

    def placeholders(self) -> dict[str, str]:
        """What the templates in etc/ may ask for, as @KEY@."""
        return {
            "CLUSTER_DIR": str(self.directory),
            "CNI_BIN": str(self.cni_bin),
            "DNS_READY_PORT": str(self.dns_ready_port),
            "NAME": self.name,
            "NODE_IP": self.node_ip,
            "POD_CIDR": self.pod_cidr,
        }


def cni_directory() -> Path:
    """Where the distribution put the network plug-ins: Debian here, most others there."""
    for candidate in (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni")):
        if (candidate / "ptp").exists():
            return candidate
    return Path("/usr/lib/cni")


def load(directory: Path) -> Settings:
    """The settings of the cluster in this directory; the environment moves it where networks are taken."""
    settings = Settings(
        directory=directory,
        name=f"{paths.PRODUCT}-{digests.of([str(directory)])[:6]}",
        node_ip=os.environ.get("CLUSTER_NODE_IP", "10.97.0.1"),
        pod_cidr=os.environ.get("CLUSTER_POD_CIDR", "10.97.1.0/24"),
        service_cidr=os.environ.get("CLUSTER_SERVICE_CIDR", "10.96.0.0/16"),
        first_port=int(os.environ.get("CLUSTER_PORTS", "22379")),
        cni_bin=cni_directory(),
    )
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Refuse early what would fail late and in the dark."""
    if len(str(settings.socket)) > SOCKET_PATH_LIMIT:
        raise Problem(f"set XDG_CACHE_HOME to a shorter path; a socket cannot have this one: {settings.directory}")
    if any(each in str(settings.directory) for each in "\"'\n\\"):
        raise Problem(f"set XDG_CACHE_HOME to a path without quotes and backslashes, unlike {settings.directory}")
    try:
        pods, services = IPv4Network(settings.pod_cidr), IPv4Network(settings.service_cidr)
        node = IPv4Address(settings.node_ip)
    except ValueError as error:
        raise Problem(f"CLUSTER_NODE_IP, CLUSTER_POD_CIDR or CLUSTER_SERVICE_CIDR: {error}") from error
    if pods.overlaps(services) or node in pods or node in services:
        raise Problem("CLUSTER_NODE_IP, CLUSTER_POD_CIDR and CLUSTER_SERVICE_CIDR overlap")


PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "ip": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
}
"""Programs of the distribution that the local cluster needs, and the packages that hold them."""


def need_packages() -> None:
    apt.need({**PROGRAMS, str(cni_directory() / "ptp"): "containernetworking-plugins"})
