"""Pods that shall have ended and have not: their node does not answer, or cannot end them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from export_operator.domain.jobs import GRACE_SECONDS
from export_operator.domain.model import Job, Pod

LATE = timedelta(seconds=10)
"""After a pod's grace: a kubelet that lives is done by then."""
STUCK = timedelta(seconds=GRACE_SECONDS + 90)
"""After the Job controller has decided that a Job failed: its pods have had their grace long ago."""


def overdue(pods: Sequence[Pod], now: datetime) -> tuple[Pod, ...]:
    """Those whose nodes are to be asked about."""
    return tuple(pod for pod in pods if not pod.over and pod.gone_by is not None and now - pod.gone_by > LATE)


def lost(pods: Sequence[Pod], silent_nodes: Collection[str], now: datetime) -> tuple[Pod, ...]:
    """Those that only the API server still knows: their nodes do not answer. What may still run there is fenced off by
    the checkpoint, so the run need not wait for it."""
    return tuple(pod for pod in overdue(pods, now) if pod.node in silent_nodes)


def look_again(pods: Sequence[Pod], now: datetime) -> float | None:
    """Seconds until a pod that is being deleted would be overdue; None when none is."""
    due = [pod.gone_by + LATE for pod in pods if not pod.over and pod.gone_by is not None]
    return max((min(due) - now).total_seconds() + 1, LATE.total_seconds()) if due else None


def over(job: Job, pods: Sequence[Pod]) -> bool:
    """The Job is complete, or has failed and its pods have ended. Before Kubernetes 1.31 a Job that is past its
    deadline has failed as soon as its pods are told to end; what they still do counts, and holds the run's place. What
    another pod does after a delivery is fenced off, and nobody waits for it."""
    return job.complete or (job.terminal and all(pod.over for pod in pods))


def stuck(job: Job, now: datetime) -> bool:
    """The Job has failed, and pods that nothing ends keep it from ending."""
    decided = job.failing or (job.finished if job.failed else None)
    return decided is not None and now - decided > STUCK
