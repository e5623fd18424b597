"""Events of Kubernetes about a Job or a pod, asked for when nothing else says why it does not start or has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_operator.domain import times
from export_operator.domain.model import EPOCH


@dataclass(frozen=True, slots=True)
class Notice:
    """One Event; `last` is when it was last said."""

    reason: str
    message: str
    last: datetime


def parse_notice(body: Mapping[str, Any]) -> Notice:
    series = body.get("series") or {}
    moments = (series.get("lastObservedTime"), body.get("lastTimestamp"), body.get("eventTime"))
    last = max((moment for moment in map(times.parse, moments) if moment is not None), default=EPOCH)
    return Notice(str(body.get("reason") or ""), str(body.get("message") or ""), last)


def refusal(message: str) -> str:
    """The reason for which the API server takes no Job or no pod, from its own words (`k8s.io/apiserver`
    `pkg/admission/plugin/resourcequota`, `k8s.io/pod-security-admission`); "" when they are none of these."""
    if "exceeded quota" in message or "failed quota" in message:
        return "ResourceQuotaExceeded"
    if "violates PodSecurity" in message:
        return "PodSecurityRefused"
    return ""


def no_pod(notices: Sequence[Notice]) -> tuple[str, str] | None:
    """Reason and sentence for a Job that gets no pod; None when the Job controller has not complained."""
    told = _newest(notices, "FailedCreate")
    if told is None:
        return None
    return refusal(told.message) or "PodRefused", f"the API server takes no export pod: {told.message}"[:600]


def no_start(notices: Sequence[Notice]) -> tuple[str, str] | None:
    """Reason and sentence for a pod whose containers are not made; None when the kubelet has not complained."""
    told = _newest(notices, "FailedMount", "FailedCreatePodSandBox")
    if told is None:
        return None
    if told.reason == "FailedMount" and "secret" in told.message.lower():
        return "CredentialsMissing", missing_secret(told.message)
    return "PodNotStarting", f"the export pod cannot be made ready: {told.message}"[:600]


def missing_secret(message: str) -> str:
    """The sentence for a Secret that a pod needs."""
    return f"a Secret or a key of it is missing in the run namespace: {message}"[:600]


def hung(notices: Sequence[Notice]) -> bool:
    """The kubelet stopped the container because its heartbeat stood still (kubelet: `pkg/kubelet/events`)."""
    stopped = any(notice.reason == "Killing" for notice in notices)
    probes = (notice for notice in notices if notice.reason == "Unhealthy")
    return stopped and any(notice.message.startswith("Liveness probe failed") for notice in probes)


def _newest(notices: Sequence[Notice], *reasons: str) -> Notice | None:
    return max((each for each in notices if each.reason in reasons), key=lambda each: each.last, default=None)
