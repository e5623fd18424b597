"""The components' command lines: which flags, and why those."""

from pathlib import Path

from tests.cluster.local.settings import Settings

CONTROL_PLANE = ("containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy", "coredns")
ALL = (*CONTROL_PLANE, *NODE)


def containerd(settings: Settings) -> list[str | Path]:
    return ["containerd", "--config", settings.directory / "etc" / "containerd.toml"]


def etcd(settings: Settings, program: Path) -> list[str | Path]:
    client = f"http://{settings.loopback}:{settings.etcd_port}"
    peer = f"http://{settings.loopback}:{settings.etcd_peer_port}"
    return [
        *(program, "etcd", "--name", settings.name, "--data-dir", settings.directory / "etcd"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"{settings.name}={peer}"),
        "--unsafe-no-fsync",  # the cluster is worth a start of four seconds, not a disk
        *("--log-level", "warn"),
    ]


def apiserver(settings: Settings, program: Path) -> list[str | Path]:
    pki = settings.directory / "pki"
    return [
        *(program, "kube-apiserver", "--etcd-servers", f"http://{settings.loopback}:{settings.etcd_port}"),
        *("--bind-address", settings.node_ip, "--advertise-address", settings.node_ip, "--secure-port", "6443"),
        *("--cert-dir", settings.directory / "apiserver-pki"),
        *("--tls-cert-file", pki / "apiserver.crt", "--tls-private-key-file", pki / "apiserver.key"),
        *("--client-ca-file", pki / "ca.crt"),
        *("--kubelet-client-certificate", pki / "kubelet-client.crt"),
        *("--kubelet-client-key", pki / "kubelet-client.key"),
        *("--kubelet-preferred-address-types", "InternalIP"),
        *("--service-account-key-file", pki / "sa.pub", "--service-account-signing-key-file", pki / "sa.key"),
        *("--service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        *("--service-cluster-ip-range", settings.service_cidr),
        *("--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction"),
        *("--allow-privileged=true", "--profiling=false"),
    ]


def controller_manager(settings: Settings, program: Path) -> list[str | Path]:
    pki = settings.directory / "pki"
    return [
        *(program, "kube-controller-manager", "--kubeconfig", settings.directory / "kubeconfig/controller-manager"),
        *("--leader-elect=false", "--secure-port", "0"),
        *("--service-account-private-key-file", pki / "sa.key", "--root-ca-file", pki / "ca.crt"),
        *("--cluster-signing-cert-file", pki / "ca.crt", "--cluster-signing-key-file", pki / "ca.key"),
    ]


def scheduler(settings: Settings, program: Path) -> list[str | Path]:
    return [
        *(program, "kube-scheduler", "--kubeconfig", settings.directory / "kubeconfig/scheduler"),
        *("--leader-elect=false", "--secure-port", "0"),
    ]


def kubelet(settings: Settings, program: Path) -> list[str | Path]:
    return [
        *(program, "kubelet", "--config", settings.directory / "etc" / "kubelet.yaml"),
        *("--kubeconfig", settings.directory / "kubeconfig/kubelet"),
        *("--root-dir", settings.directory / "kubelet", "--cert-dir", settings.directory / "kubelet-pki"),
        *("--hostname-override", settings.node_name, "--node-ip", settings.node_ip),
    ]


def proxy(settings: Settings, program: Path) -> list[str | Path]:
    return [
        *(program, "kube-proxy", "--kubeconfig", settings.directory / "kubeconfig/kube-proxy"),
        *("--proxy-mode", "nftables", "--cluster-cidr", settings.pod_cidr),
        *("--hostname-override", settings.node_name, "--healthz-bind-address", ""),
        *("--metrics-bind-address", f"{settings.loopback}:{settings.proxy_metrics_port}"),
    ]


def coredns(settings: Settings, program: Path) -> list[str | Path]:
    return [program, "coredns", "-conf", settings.directory / "etc" / "Corefile"]
