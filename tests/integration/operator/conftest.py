"""The real API server, a namespace for each test, and connections as the operator makes them."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from kubernetes.aio import client, config

from export_contract import environment
from export_operator.adapters import storage
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import Kube, path_of
from tests.cluster import providers, shell, tools
from tests.services import host

from .connections import Connect
from .remains import BUCKET, PREFIX, Remains

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
K = TypeVar("K", bound=Kube)


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """The cluster that KUBECONFIG leads to, or else the one that runs here."""
    return os.environ.get("KUBECONFIG") or str(providers.running().kubeconfig)


@pytest.fixture(scope="session", autouse=True)
def kinds(kubeconfig: str) -> None:
    """All kinds of the product, also on a cluster that nothing was installed on before."""
    kubectl: list[str | Path] = [tools.path("kubectl"), "--kubeconfig", kubeconfig]
    files = [
        argument for each in sorted((MANIFESTS / "crds").glob("*s.yaml")) for argument in ("--filename", str(each))
    ]
    shell.run([*kubectl, "apply", "--server-side", "--force-conflicts", *files])
    shell.run([*kubectl, "wait", "--for=condition=Established", "--timeout=60s", *files])


@pytest.fixture
async def connect(kubeconfig: str) -> AsyncIterator[Connect]:
    """Opens connections, of a class of the test's choice or as another user, and closes them at the end."""
    opened: list[Kube] = []

    async def connect(kind: type[K], user: str = "") -> K:
        configuration = client.Configuration()
        await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        api = client.ApiClient(configuration)
        if user:
            api.set_default_header("Impersonate-User", user)
        kube = kind(api)
        opened.append(kube)
        return kube

    yield connect
    for kube in opened:
        await kube.close()


@pytest.fixture
async def kube(connect: Connect) -> Kube:
    return await connect(Kube)


@pytest.fixture
async def namespace(kube: Kube) -> AsyncIterator[str]:
    """A fresh namespace; it goes in the background."""
    name = f"operator-test-{secrets.token_hex(4)}"
    made = await kube.create(path_of("", "v1", "namespaces"), {"metadata": {"name": name}})
    yield name
    await kube.delete(path_of("", "v1", "namespaces", name), uid=made["metadata"]["uid"])


@pytest.fixture
def configmaps(namespace: str) -> str:
    """The path of a kind that nobody reacts to."""
    return path_of("", "v1", "configmaps", namespace=namespace)


@pytest.fixture
def usages(namespace: str) -> str:
    """The path of a kind that is younger than the cluster: the API server knows no resourceVersion 1 of it."""
    return path_of("export-operator.io", "v1alpha1", "exportusages", namespace=namespace)


@pytest.fixture
def put_configmap(kube: Kube, configmaps: str) -> Callable[[str, str], Awaitable[dict[str, object]]]:
    """Creates a ConfigMap that holds one value."""

    async def put(name: str, value: str) -> dict[str, object]:
        labels = {"test": "yes"}
        return await kube.create(configmaps, {"metadata": {"name": name, "labels": labels}, "data": {"value": value}})

    return put


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[host.S3Server]:
    """A server of the test's own, which may stop it."""
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    with host.s3_server() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def remains(s3: host.S3Server) -> Remains:
    return Remains(s3)


@pytest.fixture
async def cluster(kube: Kube, namespace: str, s3: host.S3Server) -> Cluster:
    """The run namespace, with the key of the server in it."""
    keys = {environment.AWS_ACCESS_KEY_ID: s3.access_key, environment.AWS_SECRET_ACCESS_KEY: s3.secret_key}
    body = {"metadata": {"name": "bucket-keys"}, "stringData": keys}
    await kube.create(path_of("", "v1", "secrets", namespace=namespace), body)
    return Cluster(kube, namespace)


@pytest.fixture
async def bound(kube: Kube, cluster: Cluster) -> AsyncIterator[host.S3Server]:
    """Another server, of which the Secret `bound-keys` may do what the guide calls the least."""
    guide = (MANIFESTS.parent / "docs" / "guide" / "platform.md").read_text(encoding="utf-8")
    (text,) = (block for block in re.findall(r"```json\n(.*?)```", guide, re.DOTALL) if "WriteExports" in block)
    policy = json.loads(
        text.replace("company-exports/exports", f"{BUCKET}/{PREFIX}").replace("company-exports", BUCKET)
    )
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": "writer"}
    with host.s3_server(users=True) as server:
        server.create_bucket(BUCKET)
        Remains(server).client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
        keys = {environment.AWS_ACCESS_KEY_ID: "writer", environment.AWS_SECRET_ACCESS_KEY: server.writer_secret_key}
        body = {"metadata": {"name": "bound-keys"}, "stringData": keys}
        await kube.create(path_of("", "v1", "secrets", namespace=cluster.run_namespace), body)
        yield server
