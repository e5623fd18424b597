"""Ends of runs that no exporter has told of: a reason, who can mend it, and what to do next.

What an exporter tells itself is in `export_contract.failures`; both together are in docs/operations/reasons.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export_contract.failures import FailureClass

AGAIN = "Set a new spec.runID to run again."
MEND = "The platform team must mend this; then set a new spec.runID."
LOOK = "Set a new spec.runID to run again; if it repeats, ask the platform team to look at the pod's log."


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run or an attempt failed. `advice` says what to do next."""

    reason: str
    failure_class: str
    message: str
    advice: str
    retryable: bool
    exit_code: int | None = None
    log_tail: str = ""
    preflight: bool = False
    """It was refused before the first row was read."""


@dataclass(frozen=True, slots=True)
class Ending:
    """`retryable`: a new run may succeed without anybody changing anything."""

    failure_class: FailureClass
    retryable: bool
    advice: str


def _mended(reasons: str) -> dict[str, Ending]:
    return {reason: Ending(FailureClass.INFRASTRUCTURE, False, MEND) for reason in reasons.split()}


def _again(reasons: str, advice: str = AGAIN) -> dict[str, Ending]:
    return {reason: Ending(FailureClass.INFRASTRUCTURE, True, advice) for reason in reasons.split()}


ENDINGS: Mapping[str, Ending] = {
    # It did not start within its start deadline.
    **_mended("ImageNotPullable CredentialsMissing PodNotStarting StartDeadlineExceeded"),
    **_mended("PodSecurityRefused PodRefused JobNotCreated RunNamespaceMissing"),
    "Unschedulable": Ending(
        FailureClass.INFRASTRUCTURE,
        True,
        "Set a new spec.runID when the cluster has room; if it repeats, ask the platform team.",
    ),
    "ResourceQuotaExceeded": Ending(
        FailureClass.QUOTA,
        True,
        "Set a new spec.runID when other runs have ended, or ask the platform team to raise the ResourceQuota.",
    ),
    # It was taken away, or ended without a word.
    **_again("Evicted Preempted NodeLost NodeShutdown NodeRefused PodDeleted JobDeleted JobFailed"),
    **_again("PodKilled PodCrashed PodFailed PodHung", LOOK),
    # What it told is not so.
    **_again("ResultMissing", LOOK),
    "ResultMismatch": Ending(
        FailureClass.INFRASTRUCTURE,
        False,
        "Ask the platform team to look at the pod: its image may not be the exporter's.",
    ),
    # The operator ended it.
    **_mended("NoLongerAllowed"),
    "QueueDeadlineExceeded": Ending(
        FailureClass.DEADLINE,
        True,
        "Raise spec.queueDeadlineSeconds, or ask the platform team for a larger quota; then set a new spec.runID.",
    ),
}


NEVER_STARTED = frozenset(
    {
        "ImageNotPullable",
        "CredentialsMissing",
        "PodNotStarting",
        "StartDeadlineExceeded",
        "PodSecurityRefused",
        "PodRefused",
        "Unschedulable",
        "ResourceQuotaExceeded",
    }
)
"""Reasons for which the operator ends a Job whose pod does not start."""


def problem(reason: str, message: str, *, exit_code: int | None = None, log_tail: str = "") -> Problem:
    """A `Problem` of one of `ENDINGS`."""
    kind = ENDINGS[reason]
    return Problem(
        reason, str(kind.failure_class), message, kind.advice, kind.retryable, exit_code=exit_code, log_tail=log_tail
    )
