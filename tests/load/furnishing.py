"""What is there before anybody asks: a source and a destination, a policy, namespaces, and everybody's right to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain.identity import SETTLE
from export_operator.domain.model import GROUP, VERSION
from tests.load.plane import Plane
from tests.platform.catalogue import sample
from tests.platform.names import API_VERSION, RUN_NAMESPACE

NAMESPACES = 10
PAUSES = (0.2, 1.0, 3.0, 10.0, 10.0)
"""Seconds between tries."""
PATIENCE_SECONDS = 900.0
"""Nothing is measured by it: what is not there by then never comes."""
KEPT_SECONDS = 86_400
"""For which requests stay after their end."""


async def furnish(plane: Plane, kube: Kube, port: int, kept_seconds: int = KEPT_SECONDS) -> None:
    """A source and a destination that answer, their Secrets, namespaces, and everybody's right to ask."""
    source, destination = sample("source"), sample("destination")
    del source["spec"]["maxConcurrent"]  # the scenario's own limit is what is measured
    source["spec"] |= {"host": "127.0.0.1", "port": port}
    destination["spec"] |= {"endpoint": f"http://127.0.0.1:{port}"}
    secrets = {
        "app-db": ("username", "password"),
        "exports-bucket": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    }
    for name, keys in secrets.items():
        secret = {"metadata": {"name": name}, "stringData": dict.fromkeys(keys, "none")}
        await kube.create(path_of("", "v1", "secrets", namespace=RUN_NAMESPACE), secret)
    await kube.create(path_of(GROUP, VERSION, "exportsources"), source)
    await kube.create(path_of(GROUP, VERSION, "exportdestinations"), destination)
    # Jobs go soon; how a request ended is read at the end.
    kept = {"retention": {"requestTTLSeconds": kept_seconds}}
    policy = {"apiVersion": API_VERSION, "kind": "ExportPolicy", "metadata": {"name": "everybody"}, "spec": kept}
    await kube.create(path_of(GROUP, VERSION, "exportpolicies"), policy)
    for namespace in namespaces():
        await kube.create(path_of("", "v1", "namespaces"), {"metadata": {"name": namespace}})
    group = "rbac.authorization.k8s.io"
    for name in ("export-operator-edit", "export-operator-view"):
        binding = {
            "metadata": {"name": f"everybody-{name}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:authenticated"}],
        }
        await kube.create(path_of(group, "v1", "clusterrolebindings"), binding)
    await _policies_work(plane)


async def _policies_work(plane: Plane) -> None:
    """The admission policies learn of a new kind some time after it is served, and the operator believes none of what
    was created in the first seconds after them."""
    path = path_of(GROUP, VERSION, "exportrequests", namespace=namespaces()[0])
    async with plane.connected("anybody") as kube, asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await kube.create(f"{path}?dryRun=All", request("first"))
            except ApiError as error:
                if error.status not in {403, 503}:  # roles take a moment too
                    raise
                await asyncio.sleep(0.2)
            else:
                await asyncio.sleep(SETTLE.total_seconds() + 1)
                return


async def insist(work: Callable[[], Awaitable[Any]]) -> None:
    """Do it, and again where the API server has too much to do to answer, as a person would. Raises `ApiError`."""
    for pause in PAUSES:
        try:
            await work()
        except ApiError as error:
            if error.status and error.status not in {409, 429} and error.status < 500:
                raise
            await asyncio.sleep(pause)
        else:
            return
    await work()


async def made(kube: Kube, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object, which may be there by an earlier try."""
    try:
        return await kube.create(path, body)
    except ApiError as error:
        if not error.exists:
            raise
    return await kube.get(f"{path}/{body['metadata']['name']}")


def namespaces() -> list[str]:
    """Those in which people apply."""
    return [f"team-{number}" for number in range(NAMESPACES)]


def request(name: str, *, on_quota_exceeded: str = "Reject", ttl_seconds: int = 1) -> dict[str, Any]:
    """What a person applies."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ExportRequest",
        "metadata": {"name": name},
        "spec": {
            "source": {"name": "app-db", "dataset": "users"},
            "onQuotaExceeded": on_quota_exceeded,
            "ttlSecondsAfterFinished": ttl_seconds,
        },
    }
