"""How one attempt ended: what its pod told, as far as it can be believed, and what Kubernetes says of the pod."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export_contract import failures
from export_contract.codec import ContractError
from export_contract.failures import FAILURES, Failure, FailureClass, FailureKind
from export_contract.logs import message_of
from export_contract.report import MAX_COUNT, MAX_RETRIED, MAX_SECONDS, FailureReport, Outcome
from export_operator.domain import times
from export_operator.domain.endings import Problem, problem
from export_operator.domain.model import Pod
from export_operator.domain.notices import Notice, hung

OOM_KILLED = "OOMKilled"
READ = "read"  # the step of a run that begins with its query
KILLED = frozenset({137, 143})  # by SIGKILL and SIGTERM
MAX_LOG_TAIL = 1024
MAX_ATTEMPTS = 2**31 - 1  # int32 in the CRD
SHA256 = re.compile("([0-9a-f]{64})?")  # that of several objects is in their manifest
WORD = re.compile("[A-Za-z][A-Za-z0-9_-]{0,62}")
RETRIED = re.compile("[A-Za-z][A-Za-z0-9]{0,39}/[A-Za-z]{1,40}")
STEP = re.compile("[A-Za-z][A-Za-z0-9_-]{0,31}")
MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))?")

DISRUPTIONS = {
    "EvictionByEvictionAPI": ("Evicted", "the export pod was evicted, as for a node that is drained"),
    "TerminationByKubelet": ("Evicted", "the node ended the export pod, for want of room or to shut down"),
    "PreemptionByScheduler": ("Preempted", "the export pod had to make room for a pod of a higher priority"),
    "DeletionByTaintManager": ("NodeLost", "the node of the export pod did not answer any more"),
    "DeletionByPodGC": ("NodeLost", "the node of the export pod is gone"),
}
"""Reasons of a pod's condition DisruptionTarget (`k8s.io/api/core/v1`, PodReason…)."""

TAKEN = {
    "Evicted": ("Evicted", "the node evicted the export pod"),
    "Preempting": ("Preempted", "the export pod had to make room for a pod of a higher priority"),
    "NodeLost": ("NodeLost", "the node of the export pod did not answer any more"),
    "Terminated": ("NodeShutdown", "the node of the export pod was shut down"),
    "NodeShutdown": ("NodeShutdown", "the node of the export pod was shut down"),
}
"""Reasons of a failed pod (kubelet: `pkg/kubelet/eviction`, `nodeshutdown`, `preemption`)."""

REFUSED = re.compile("OutOf|NodeAffinity|UnexpectedAdmissionError|Admission|Affinity|PodOSNotSupported")
"""Reasons of pods that a kubelet does not take (`pkg/kubelet/lifecycle`)."""


def read_outcome(pod: Pod, run: str) -> Outcome | None:
    """The pod's termination message, if it is one and of this run: a pod may write anything there."""
    try:
        outcome = Outcome.from_json(pod.exit_message)
    except ContractError:
        return None
    return outcome if outcome.run == run and plausible(outcome) else None


def retries(pods: Sequence[Pod], run: str) -> Mapping[str, int]:
    """How often all attempts together tried calls again, by call and failure."""
    found: Counter[str] = Counter()
    for pod in pods:
        outcome = read_outcome(pod, run)
        found.update({} if outcome is None else outcome.retries)
    return {name: min(number, MAX_ATTEMPTS) for name, number in found.most_common(MAX_RETRIED)}


def plausible(outcome: Outcome) -> bool:
    """Whether status can hold it: an API server that refuses the status would keep the run from ending."""
    delivered, failure = outcome.delivered, outcome.failure
    counts = [outcome.peak_memory_bytes, outcome.checkpoint_rows or 0, *outcome.retries.values()]
    if len(outcome.retries) > MAX_RETRIED or not all(RETRIED.fullmatch(name) for name in outcome.retries):
        return False
    words = []
    if delivered is not None:
        counts += [delivered.rows, delivered.bytes]
        small = (delivered.segments, delivered.resumed, delivered.objects, delivered.connections)
        if not all(0 <= count <= MAX_ATTEMPTS for count in small):
            return False
        words += [delivered.consistency]
        if SHA256.fullmatch(delivered.sha256) is None or MOMENT.fullmatch(delivered.snapshot_time) is None:
            return False
        if delivered.snapshot_time and times.parse(delivered.snapshot_time) is None:
            return False
    if failure is not None:
        words += [failure.reason, failure.failure_class]
    return (
        all(0 <= count <= MAX_COUNT for count in counts)
        and all(WORD.fullmatch(word) for word in words)
        and all(STEP.fullmatch(step) and 0 <= seconds <= MAX_SECONDS for step, seconds in outcome.timings.items())
    )


def told_failure(pod: Pod, run: str) -> Outcome | None:
    """What the pod says of its failure, if its exit code does not contradict it. One that was killed may have said so
    before."""
    outcome = read_outcome(pod, run)
    if outcome is None or outcome.failure is None or pod.exit_code is None:
        return None
    told = outcome.failure
    if pod.exit_code not in {told.exit_code, *KILLED}:
        return None
    kind = failures.by_exit_code(told.exit_code)
    known = {each.value for each in Failure}
    return outcome if (told.reason == kind.reason if kind else told.reason not in known) else None


def readable(log: str) -> str:
    """The end of an exporter's log as a person reads it: messages alone, without the lines for programs (progress,
    outcome; the first may be cut), which say nothing that status does not, and without characters that steer a
    terminal."""
    lines = []
    for line in log.splitlines():
        message = message_of(line)
        if message is not None or (line.strip() and not (line.startswith("{") or line.endswith("}"))):
            lines.append(line if message is None else message)
    plain = "\n".join("".join(each if each.isprintable() else "�" for each in line) for line in lines)
    return plain[-MAX_LOG_TAIL:]


def end_of(pod: Pod, run: str, notices: Sequence[Notice] = (), *, first: bool = False) -> Problem:
    """Why an attempt that is over did not deliver. `notices` are Kubernetes' Events of the pod, where they were asked
    for; `first`: there was no attempt before it."""
    outcome = told_failure(pod, run)
    told = outcome.failure if outcome is not None else None
    if told is None or told.reason == Failure.INTERRUPTED:
        taken = _taken(pod, notices)
        if taken is not None:
            return taken
    if outcome is not None and told is not None:
        return _reported(pod, outcome, told, first=first)
    kind = failures.by_exit_code(pod.exit_code) if pod.exit_code is not None else None
    if kind is not None:
        text = f"the export pod ended with exit code {pod.exit_code}, which stands for this, and no report"
        return _of_kind(kind, text, pod.exit_code, readable(pod.exit_message))
    if pod.exit_code is None:
        return problem("PodFailed", _words(pod, "the export pod ended before its container did"))
    return problem(
        "PodKilled" if pod.exit_code in KILLED else "PodCrashed",
        f"the export pod ended with exit code {pod.exit_code} and no report",
        exit_code=pod.exit_code,
        log_tail=readable(pod.exit_message),  # by FallbackToLogsOnError: what the exporter logged last
    )


def _taken(pod: Pod, notices: Sequence[Notice]) -> Problem | None:
    """The pod did not end by itself: somebody or something took it away. None when nothing says so."""
    if pod.exit_reason == OOM_KILLED:
        kind = FAILURES[Failure.OUT_OF_MEMORY]
        return _of_kind(kind, "the export pod was killed at its memory limit", pod.exit_code)
    known = DISRUPTIONS.get(pod.disruption) or TAKEN.get(pod.reason)
    if known is not None:
        reason, meaning = known
        return problem(reason, _words(pod, meaning), exit_code=pod.exit_code)
    if REFUSED.search(pod.reason):
        return problem("NodeRefused", _words(pod, "the node did not take the export pod"))
    if pod.reason:
        return problem("PodFailed", _words(pod, f"the export pod ended: {pod.reason}"), exit_code=pod.exit_code)
    if hung(notices) and not pod.deleting:
        text = "the export pod hung: its heartbeat stood still, and the kubelet ended it"
        return problem("PodHung", text, exit_code=pod.exit_code)
    if pod.deleting:
        return problem("PodDeleted", "somebody deleted the export pod before it ended", exit_code=pod.exit_code)
    return None


def _words(pod: Pod, meaning: str) -> str:
    """Our sentence with Kubernetes' own behind it."""
    told = pod.message or pod.disruption_message
    return f"{meaning}: {told}"[:600] if told else meaning


def _reported(pod: Pod, outcome: Outcome, told: FailureReport, *, first: bool) -> Problem:
    kind = failures.by_exit_code(told.exit_code)
    if kind is None:  # of a newer exporter; who can mend it is still one of few
        whose = told.failure_class if told.failure_class in set(FailureClass) else FailureClass.INFRASTRUCTURE
        kind = FailureKind(told.reason, FailureClass(whose), told.exit_code, told.retryable, advice="")
    # Time that ran out is no refusal: else a deadline of one second would be a run for nothing.
    refused = kind.failure_class != FailureClass.DEADLINE and READ not in outcome.timings
    problem = _of_kind(kind, told.message, pod.exit_code)
    return replace(problem, preflight=first and outcome.rows == 0 and refused)


def _of_kind(kind: FailureKind, text: str, exit_code: int | None, log_tail: str = "") -> Problem:
    return Problem(
        kind.reason, str(kind.failure_class), text, kind.advice, kind.retryable, exit_code, log_tail=log_tail
    )
