"""What to do about one request, now. Level-triggered: the whole truth goes in, the next actions come out, and any of
them may be cut off by a crash: the next decision continues from what is then true."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from export_contract.manifest import Manifest
from export_operator.domain import admission, expiry, quota, running
from export_operator.domain.actions import (
    Decision,
    LosePod,
    Observation,
    Recall,
    Reserve,
    Settings,
    TakeSlot,
)
from export_operator.domain.model import Job, Pod
from export_operator.domain.turn import Turn


def decide(seen: Observation, settings: Settings, now: datetime) -> Decision:
    """The next actions for a request that exists."""
    turn = Turn(seen, settings, now)
    if seen.request.finished:
        return expiry.finished(turn)
    if seen.job is None and not seen.request.launched:
        return admission.before_job(turn)
    return running.with_job(turn)


def recalled(
    seen: Observation, recall: Recall, manifests: Iterable[Manifest] | str, settings: Settings, now: datetime
) -> Decision:
    """The actions that follow from the manifests of a `Recall`; a text says why they cannot be read."""
    turn = Turn(seen, settings, now)
    if isinstance(manifests, str):
        return admission.not_recalled(turn, recall, manifests)
    return admission.recalled(turn, recall, manifests)


def reserved(
    seen: Observation, reserve: Reserve, answer: quota.Admission, settings: Settings, now: datetime
) -> Decision:
    """The actions that follow from what the windows said to a `Reserve`."""
    return admission.reserved(Turn(seen, settings, now), reserve, answer)


def admitted(seen: Observation, take: TakeSlot, full: str, settings: Settings, now: datetime) -> Decision:
    """The actions that follow from a `TakeSlot`: `full` is the reason why there is no slot, "" when there is."""
    return admission.admitted(Turn(seen, settings, now), take, full)


def held(seen: Observation, reason: str, text: str, settings: Settings, now: datetime) -> Decision:
    """Something of ours is in the way: the ledger, or the API server that takes no Job. A person can read why."""
    return admission.held(Turn(seen, settings, now), reason, text)


def refused(seen: Observation, reason: str, text: str, settings: Settings, now: datetime) -> Decision:
    """The API server does not take the run's Job, for this reason."""
    return admission.refused(Turn(seen, settings, now), reason, text)


def orphaned(job: Job, lost: Iterable[Pod], *, pod_lives: bool, gone: bool) -> Decision:
    """What becomes of a Job that is not its request's any more: that wants another run, or is `gone`. `lost` are its
    pods that only the API server still knows: it does not wait for their node."""
    if stranded := tuple(map(LosePod, lost)):
        return Decision(stranded)
    return Decision(expiry.retire(job, pod_lives=pod_lives, gone=gone, delivered=job.complete))
