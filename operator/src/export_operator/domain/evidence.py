"""What proves that a run is, or was: its request, its Job, its manifest. From these a lost ledger is made again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from export_contract import environment, names
from export_contract.codec import ContractError
from export_contract.runspec import RunSpec
from export_operator.domain import times
from export_operator.domain.identity import Subject, subject_of
from export_operator.domain.manifests import Delivery
from export_operator.domain.model import ANNOTATION_REQUESTER, EPOCH, TERMINAL_PHASES, Request, parse_job
from export_operator.domain.pages import Entry, State
from export_operator.domain.refunds import settlement
from export_operator.domain.status import MAX_QUOTAS


class Witness(IntEnum):
    """What a proof was read from. Where several tell different things, the first is believed."""

    REQUEST = 1
    MANIFEST = 2
    JOB = 3


@dataclass(frozen=True, slots=True)
class Proof:
    """That a run has used so much. `entry.time` is never before the run's reservation.

    `subjects` are those in whose windows it was reserved; `more`: there may be others that the witness does not tell.
    `live`: it may have pods, and needs a slot. `delivered`: a manifest says so. `ended`: when, by its request's status.
    """

    entry: Entry
    witness: Witness
    subjects: frozenset[Subject] = frozenset()
    more: bool = True
    live: bool = False
    delivered: bool = False
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was found: proofs by run, the runs that have a Job, the UIDs of the requests there are, and what could
    not be searched, in sentences."""

    proofs: Mapping[str, Proof]
    jobs: frozenset[str] = frozenset()
    requests: frozenset[str] = frozenset()
    blind: tuple[str, ...] = ()


def of_request(request: Request, refund_on: Collection[str]) -> Proof | None:
    """The run that status speaks of, if it has its places in the windows. `refund_on`: as its policy says."""
    status = request.status
    run = names.run_id(request.uid, str(status.get("runID") or ""))
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    reserved = conditions.get("QuotaReserved") or {}
    launched, over = bool(status.get("jobRef")), request.phase in TERMINAL_PHASES
    if not launched and (over or reserved.get("status") != "True"):
        return None
    times_told = (times.parse(text) for text in (reserved.get("lastTransitionTime"), status.get("startTime")))
    moments = [moment for moment in times_told if moment is not None]
    if not moments:
        return None
    effective: Mapping[str, Any] = status.get("effective") or {}
    quota: Sequence[Mapping[str, Any]] = status.get("quota") or ()
    entry = Entry(
        run=run,
        request=request.key,
        uid=request.uid,
        time=min(moments),
        user=request.requester,
        source=str(effective.get("source") or ""),
        destination=str(effective.get("destination") or ""),
        policy=str(effective.get("policy") or ""),
    )
    if over:
        end = settlement(request, refund_on)
        state = State.REFUNDED if end.refunded else State.SETTLED
        entry = replace(entry, state=state, rows=end.rows or 0, bytes=end.bytes or 0)
    subjects, ended = _reserved_for(request, quota), times.parse(status.get("completionTime")) if over else None
    return Proof(entry, Witness.REQUEST, subjects, more=len(quota) >= MAX_QUOTAS, ended=ended)


def _reserved_for(request: Request, quota: Iterable[Mapping[str, Any]]) -> frozenset[Subject]:
    """`status.quota` lists the windows that the run was reserved in."""
    found = set()
    for item in quota:
        match item.get("scope"):
            case "User":
                found.add(subject_of(request))
            case "Namespace":
                found.add(Subject("Namespace", request.key.namespace))
            case "Policy":
                found.add(Subject("Policy", item["policy"]))
            case "Cluster":
                found.add(Subject("Cluster", "all"))
    return frozenset(found)


def of_job(document: Mapping[str, Any]) -> Proof:
    """A Job of the run namespace, whose pod was told what to export. What came of it, others must tell: until then it
    takes the most that its pod may deliver, which is what was left for it in its windows."""
    job = parse_job(document)
    spec = run_spec(document)
    entry = Entry(
        run=job.run,
        request=job.request,
        uid=job.request_uid,
        time=job.created,
        user=(document["metadata"].get("annotations") or {}).get(ANNOTATION_REQUESTER, ""),
        source=spec.source.name if spec else "",
        destination=spec.destination.name if spec else "",
        state=State.SETTLED if job.terminal else State.RESERVED,
        rows=spec.limits.max_rows if spec else 0,
        bytes=spec.limits.max_bytes if spec else 0,
    )
    # A run that Kueue admits holds no slot: the queue's own quota counts it.
    return Proof(entry, Witness.JOB, live=not (job.terminal or job.suspended or job.queue))


def run_spec(document: Mapping[str, Any]) -> RunSpec | None:
    """What a Job's pods are told to export; None where it cannot be read."""
    containers = document["spec"]["template"]["spec"].get("containers") or ()
    variables = {item["name"]: item.get("value", "") for each in containers for item in each.get("env") or ()}
    try:
        # The builder of the manifest writes `$$` for `$`, which Kubernetes would expand.
        return RunSpec.from_json(variables.get(environment.RUN_SPEC, "").replace("$$", "$"))
    except ContractError:
        return None


def of_delivery(found: Delivery) -> Proof:
    """A manifest: the run was delivered, whatever else is said of it."""
    entry = Entry(
        run=found.run,
        request=found.request,
        uid=found.uid,
        time=found.time,
        user=found.user,
        source=found.source,
        destination=found.destination,
        state=State.SETTLED,
        rows=found.rows,
        bytes=found.bytes,
    )
    return Proof(entry, Witness.MANIFEST, delivered=True)


def combined(proofs: Iterable[Proof]) -> dict[str, Proof]:
    """One proof for each run, of all that its witnesses tell."""
    by_run: dict[str, list[Proof]] = defaultdict(list)
    for proof in proofs:
        by_run[proof.entry.run].append(proof)
    return {run: _combined(sorted(found, key=lambda proof: proof.witness)) for run, found in sorted(by_run.items())}


def _combined(found: list[Proof]) -> Proof:
    entries = [proof.entry for proof in found]
    first = entries[0]
    texts: dict[str, Any] = {
        name: next((text for each in entries if (text := getattr(each, name))), "") for name in _TEXTS
    }
    delivered = any(proof.delivered for proof in found)
    known = [each.entry for each in found if each.witness is not Witness.JOB and each.entry.state is not State.RESERVED]
    return Proof(
        entry=replace(
            first,
            **texts,
            time=min(entry.time for entry in entries),
            state=State.SETTLED if delivered else first.state,
            rows=max(entry.rows for entry in known or entries),
            bytes=max(entry.bytes for entry in known or entries),
        ),
        witness=found[0].witness,
        subjects=found[0].subjects,
        more=found[0].more,
        live=any(proof.live for proof in found),
        delivered=delivered,
        ended=found[0].ended,
    )


_TEXTS = ("uid", "user", "source", "destination", "policy")


def request_of(entry: Entry) -> Request:
    """The least that a request of this run was, for finding the policy that selects it now. Groups are not known."""
    who = {"username": entry.user}
    spec = {"requester": who, "source": {"name": entry.source}, "destination": {"name": entry.destination}}
    return Request(entry.request, entry.uid, "", 0, EPOCH, spec, {})
