"""What must be there before the operator can work: its kinds, its permissions."""

from __future__ import annotations

import gc

from export_operator.adapters.canary import GUARDED
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import lease
from export_operator.domain.model import GROUP, VERSION

KINDS = (*GUARDED, "exportsources", "exportdestinations", "exportpolicies", "exportusages")


class StartError(Exception):
    """The operator cannot work here; the message says what to mend."""


def collect_seldom() -> None:
    """Set the garbage collector to this process's ways: what is listed stays, and to look at it again and again doubles
    the CPU of a start."""
    gc.set_threshold(50_000, 20, 100)


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
