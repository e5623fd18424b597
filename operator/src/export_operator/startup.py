"""What must be there before the operator can work: a way to the API server, its kinds, its permissions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from export_operator.adapters.canary import GUARDED
from export_operator.adapters.kube import ApiError, Fence, Kube, path_of
from export_operator.adapters.metrics import Metrics
from export_operator.domain import lease
from export_operator.domain.model import GROUP, VERSION

KINDS = (*GUARDED, "exportsources", "exportdestinations", "exportpolicies", "exportusages")


class StartError(Exception):
    """The operator cannot work here; the message says what to mend."""


async def check_served(kube: Kube) -> None:
    """Every kind of ours is served by the API server. Raises `StartError` that names those that are not."""
    try:
        found = await kube.get(f"/apis/{GROUP}/{VERSION}")
    except ApiError as error:
        if error.not_found:
            found = {}
        else:
            raise StartError(f"the API server does not answer: {error}") from error
    served = {item["name"] for item in found.get("resources") or ()}
    missing = [kind for kind in KINDS if kind not in served]
    if missing:
        names = ", ".join(f"{kind}.{GROUP}" for kind in missing)
        raise StartError(f"not served by the API server: {names}. Install the CRDs (the chart does).")


async def check_access(kube: Kube, namespace: str, run_namespace: str) -> None:
    """The run namespace can be read, and the Lease in the operator's own. Raises `StartError`."""
    for path in (
        path_of("batch", "v1", "jobs", namespace=run_namespace),
        path_of(GROUP, VERSION, "exportusages", namespace=run_namespace),
    ):
        try:
            await kube.get(path, limit=1)
        except ApiError as error:
            raise StartError(f"cannot list {path}: {error}") from error
    try:
        await kube.find(path_of("coordination.k8s.io", "v1", "leases", lease.NAME, namespace=namespace))
    except ApiError as error:
        raise StartError(f"cannot read Lease {lease.NAME} in namespace {namespace}: {error}") from error


@asynccontextmanager
async def connection(metrics: Metrics, fence: Fence = lambda _: None) -> AsyncIterator[Kube]:
    """To the API server, its calls counted; closed at the end. Raises `ApiError` when there is no way to a cluster."""
    kube = await Kube.connect(metrics.count_call, fence=fence)
    try:
        yield kube
    finally:
        await kube.close()
