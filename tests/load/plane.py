"""A control plane without nodes: etcd and the API server, for one process alone.

Nothing else acts on it: no Job controller, no scheduler, no kubelet, no operator that somebody has installed. What they
would do is the stand-in's part (`standin`), and the API server's audit log tells every call of the operator's account,
whatever the operator says of itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio import client, config

from export_operator.adapters.kube import Kube, path_of
from tests.cluster import shell
from tests.cluster.local import components, pki, program
from tests.cluster.local.client import Client
from tests.cluster.local.settings import Settings
from tests.cluster.paths import REPOSITORY
from tests.platform.names import NAMESPACE
from tests.services.processes import Server, as_user, listens, workplace

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:export-operator"
TOKEN_SECONDS = 7200
FIRST_PORT = 22379
"""On an address of its own, so any will do but one that the kernel may give to an outgoing connection."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
}


@dataclass(frozen=True)
class Plane:
    """`audit` is the log of the operator's calls, one JSON object a line."""

    settings: Settings
    audit: Path
    program: Path
    """Every component of Kubernetes, under a name of its own."""

    @property
    def kubeconfig(self) -> Path:
        return self.settings.kubeconfig

    def install(self) -> None:
        """CRDs, admission policies and the operator's own permissions, as `kubectl apply -k manifests/install` does."""
        kubectl: list[str | Path] = [program.kubectl(), "--kubeconfig", self.kubeconfig]
        manifests = REPOSITORY / "manifests"
        shell.run([*kubectl, "apply", "--server-side", "--kustomize", manifests / "install"], env=direct())
        kubectl += ["wait", "--for=condition=Established", "--timeout=60s", "--filename", manifests / "crds"]
        shell.run(kubectl, env=direct())

    @asynccontextmanager
    async def connected(self, user: str = "") -> AsyncIterator[Kube]:
        """As the administrator or, by impersonation, as a person."""
        configuration = client.Configuration()
        await config.load_kube_config(config_file=str(self.kubeconfig), client_configuration=configuration)
        api = client.ApiClient(configuration)
        if user:
            api.set_default_header("Impersonate-User", user)
            api.set_default_header("Impersonate-Group", "system:authenticated")
        kube = Kube(api)
        try:
            yield kube
        finally:
            await kube.close()

    async def operator_kubeconfig(self, kube: Kube, number: int = 0, server: str = "") -> Path:
        """A kubeconfig of the operator's service account, with no other permissions than the chart gives it and a token
        of its own; `server` is a way round to the API server."""
        path = path_of("", "v1", "serviceaccounts", "export-operator", "token", namespace=NAMESPACE)
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        answer = await kube.create(path, request)
        document = json.loads(self.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": answer["status"]["token"]}
        if server:
            document["clusters"][0]["cluster"] = {"server": server}
        target = self.kubeconfig.with_name(f"operator-{number}")
        target.write_text(json.dumps(document))
        target.chmod(0o600)
        return target


def direct() -> dict[str, str]:
    """No proxy on the way to this machine itself."""
    return dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.0/8,127.0.0.1,localhost")


@contextmanager
def plane(*more: str | Path) -> Iterator[Plane]:
    """One that is ready, and gone afterwards; `more` are options of its API server. The first of all builds Kubernetes,
    unless the local cluster has."""
    with workplace("load") as directory:
        address = _loopback()
        settings = Settings(
            directory=directory,
            node_ip=address,
            loopback=address,
            pod_cidr="10.97.1.0/24",
            service_cidr="10.96.0.0/16",
            first_port=FIRST_PORT,
            cni_bin=directory,
        )
        pki.make(settings)
        # Under a name of its own, or else the local cluster would take it for a part of another cluster, and stop it.
        binary, store = directory / "control-plane", directory / "store"
        binary.symlink_to(program.path())
        store.symlink_to(program.services())
        policy, audit = directory / "audit-policy.json", directory / "audit.log"
        policy.write_text(json.dumps(AUDIT_POLICY))
        options: list[str | Path] = [
            "--audit-policy-file",
            policy,
            "--audit-log-path",
            audit,
            "--audit-log-maxsize",
            "4096",
        ]
        # Endpoints of the API server's own Service may not be loopback addresses; nobody here asks for them.
        options += ["--endpoint-reconciler-type", "none"]
        etcd = Component(
            "etcd", directory, components.etcd(settings, store), lambda: listens(address, settings.etcd_port)
        )
        server = Component(
            "kube-apiserver",
            directory,
            [*components.apiserver(settings, binary), *options, *more],
            Client(settings).ready,
        )
        try:
            etcd.start(60)
            server.start(60)
            yield Plane(settings, audit, binary)
        finally:
            server.kill()
            etcd.kill()


def _loopback() -> str:
    """An address of this machine that is this process's own: several planes may stand beside each other."""
    pid = os.getpid()
    return f"127.{100 + pid // 62500 % 100}.{pid // 250 % 250}.{1 + pid % 250}"


class Component(Server):
    """A part of the control plane; without `ready` it is when it runs."""

    def __init__(
        self, name: str, directory: Path, command: Sequence[str | Path], ready: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__(name, directory / f"{name}.log")
        self._command = command
        self._ready = ready

    def command(self) -> Sequence[str | Path]:
        return [*as_user(""), *self._command]

    def ready(self) -> bool:
        return self._ready()
