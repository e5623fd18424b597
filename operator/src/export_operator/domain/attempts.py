"""The attempts of a run that ended without delivering, as status tells of them: the last few, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from export_operator.domain import pod_ends, status, times
from export_operator.domain.model import Pod

RING = 5
MAX_MESSAGE = 128  # bytes of JSON


def ring(known: Iterable[Mapping[str, Any]], pods: Iterable[Pod], run: str) -> list[Mapping[str, Any]]:
    """What is `known` of attempts whose pods may be gone, and what these pods tell: each attempt once, `RING` at most.
    Messages are the exporter's own, which hold no row values; of a pod that wrote none, what Kubernetes says."""
    told = {str(item["pod"]): item for item in known}
    told |= {pod.name: _told(pod, run) for pod in pods if pod.over and pod.exit_code != 0}
    return sorted(told.values(), key=lambda item: (item.get("completionTime", ""), item["pod"]))[-RING:]


def _told(pod: Pod, run: str) -> dict[str, Any]:
    problem = pod_ends.end_of(pod, run)
    found: dict[str, Any] = {
        "pod": pod.name,
        "reason": problem.reason,
        "message": status.clip(problem.message, MAX_MESSAGE),
        "completionTime": times.render(pod.finished or pod.created),
    }
    if pod.started is not None:
        found["startTime"] = times.render(pod.started)
    if pod.exit_code is not None:
        found["exitCode"] = pod.exit_code
    return found
