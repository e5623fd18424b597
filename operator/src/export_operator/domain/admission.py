"""Before there is a Job: is the request valid, has its requester quota left, is there room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from export_contract.manifest import Manifest
from export_operator.domain import (
    adoption,
    breaker,
    endings,
    identity,
    jobs,
    kueue,
    lookup,
    outcome,
    pausing,
    plan,
    quota,
    status,
    times,
)
from export_operator.domain.actions import (
    Action,
    CreateJob,
    Decision,
    Hold,
    Recall,
    Refund,
    Reserve,
    SuspendJob,
    TakeSlot,
    Wait,
)
from export_operator.domain.endings import ENDINGS
from export_operator.domain.identity import Subject
from export_operator.domain.turn import Turn

APPEAR_SECONDS = 10  # how long a request waits for a source or destination that may be applied with it
SLOT_RETRY_SECONDS = 30.0  # a freed slot wakes the waiting; this is for a wake-up that was lost
LOOK_SECONDS = 60.0  # the canary wakes those whom it holds; this is for a wake-up that was lost
RECALL_SECONDS = 300.0  # how long a request waits for manifests that cannot be read: then it runs
HOLD_SECONDS = 10.0  # a Job that the API server refuses (a namespace quota, say) is tried again after this
MAX_DOWN_SECONDS = 300.0  # a breaker that opens wakes whom it held; this is for a wake-up that was lost
MAX_WAIT_SECONDS = 3600.0  # nobody sleeps longer without looking again

NOT_ATTESTED = (
    "nobody attested who created this request: the admission policies of export-operator did not see it, or were not"
    " in force when it was created. Delete it and create it again."
)


def before_job(turn: Turn) -> Decision:
    """A request without a Job: refuse it, let it wait, or ask the ledger for its place."""
    request = turn.request
    if request.spec.get("cancel"):
        return turn.close("Cancelled", "Cancelled", "cancelled before it started", first=(Refund(turn.run),))
    if not turn.seen.identity.enforced:
        return _not_enforced(turn)
    if _doubtful(turn):
        return turn.close("Rejected", "IdentityNotAttested", NOT_ATTESTED)
    try:
        found = turn.make_plan()
    except lookup.RefusalError as refusal:
        age = (turn.now - request.created).total_seconds()
        if refusal.may_appear and age < APPEAR_SECONDS:
            return _wait_to_appear(turn, refusal, APPEAR_SECONDS - age + 0.1)
        return turn.close("Rejected", refusal.reason, refusal.message, first=(Refund(turn.run),))
    if (earlier := adoption.find(turn, found)) is not None:
        return adoption.adopt(turn, found, earlier)
    if request.spec.get("suspend"):
        document = turn.accepted(found)
        text = "suspended; set spec.suspend to false to let it go on"
        document.condition("Suspended", True, "Suspended", text)
        document.queue("Suspended", text)
        return Decision((*turn.free_slot(), *pausing.told(turn), *turn.write(document)), MAX_WAIT_SECONDS)
    if (turn.now - turn.waiting_since).total_seconds() > found.effective.queue_deadline_seconds:
        return _queue_deadline(turn, found)
    if found.queue and not turn.seen.workloads_seen:
        document = turn.accepted(found)
        document.queue(*kueue.unavailable(found.queue))
        return Decision(turn.write(document), SLOT_RETRY_SECONDS)
    return ask(turn, found)


def _doubtful(turn: Turn) -> bool:
    """The request may be forged. What the ledger has of it cannot be: the operator admitted it when it was attested. A
    status may have been written by anybody while nobody looked, so `Accepted` there proves nothing."""
    seen, enforcement = turn.seen, turn.seen.identity
    if not identity.attested(seen.request, enforcement.mode):
        return True
    if seen.unsettled or seen.slot_held:
        return False
    # An operator that saw the gap has written so; another may decide after it.
    marked = any(item["reason"] == "IdentityNotAttested" for item in turn.known.get("conditions") or ())
    return marked or enforcement.doubts(seen.request)


def _not_enforced(turn: Turn) -> Decision:
    """Nothing is admitted while anybody may ask in anybody's name."""
    text = f"nothing is admitted while the cluster does not attest who asks: {turn.seen.identity.message}"
    document = turn.document()
    document.fields.pop("queue", None)
    document.phase("Pending", "IdentityNotEnforced", text)
    document.condition("Reconciling", True, "IdentityNotEnforced", text)
    if _doubtful(turn):
        document.condition("Accepted", False, "IdentityNotAttested", NOT_ATTESTED)
    return Decision((*turn.event("Warning", "IdentityNotEnforced", text), *turn.write(document)), LOOK_SECONDS)


def ask(turn: Turn, found: plan.Plan) -> Decision:
    """Ask the windows for a place, unless the source or destination is down; `reserved` continues with their answer."""
    for subject in found.offer.reached:
        known = turn.seen.breakers.get(subject)
        # A run that holds a slot may have its Job already: it goes on.
        if known is not None and known.limit == 0 and not turn.seen.slot_held:
            return _down(turn, found, subject, known)
    if adoption.forgotten(turn):
        return Decision((Recall(found, adoption.folder(found)),))
    return _reserve(turn, found)


def recalled(turn: Turn, recall: Recall, manifests: Iterable[Manifest]) -> Decision:
    """Continue after the manifests were read: take over an earlier result, or ask the windows."""
    earlier = adoption.of_manifests(turn, recall.plan, manifests)
    return _reserve(turn, recall.plan) if earlier is None else adoption.adopt(turn, recall.plan, earlier)


def not_recalled(turn: Turn, recall: Recall, fault: str) -> Decision:
    """They cannot be read. A store that is away comes back; where nobody may list, the request shall not wait."""
    if turn.now - turn.request.created > timedelta(seconds=RECALL_SECONDS):
        return _reserve(turn, recall.plan)
    text = f"whether there is an earlier result to take over is not known yet: {fault}"
    return held(turn, "EarlierResultUnknown", text)


def _reserve(turn: Turn, found: plan.Plan) -> Decision:
    if turn.seen.job is not None:  # Kueue takes over no Job that was made without it
        found = found.without_queue()
    # One that waited before this process began counts at once: nobody shall take its place meanwhile.
    waits = (Wait(frozenset(turn.terms.max_queued)),) if turn.known.get("phase") == "Queued" else ()
    return Decision((*waits, Reserve(found, turn.terms.limits, turn.waiting(found), turn.demand(found))))


def reserved(turn: Turn, reserve: Reserve, answer: quota.Admission) -> Decision:
    """Continue after the windows have answered: ask for a slot, unless Kueue gives them, wait, or refuse."""
    # The page that was just written to is the newest there is: whoever decided by an older one finds out here.
    if (earlier := adoption.find(turn, reserve.plan)) is not None:
        return adoption.adopt(turn, reserve.plan, earlier, first=(Refund(turn.run),))
    if answer.over:
        return used(turn)
    if not answer.granted:
        return _over_quota(turn, reserve, answer)
    take = TakeSlot(reserve.plan, reserve.waiting, answer)
    return admitted(turn, take, "") if reserve.plan.queue else Decision((take,))


def used(turn: Turn) -> Decision:
    """The run is over, and `spec.runID` asks for it once more."""
    text = (
        f"spec.runID {turn.request.run_id!r}: this request has had it before, and each run has a value of its own."
        " Set one that it has not had, or create a new request."
    )
    return turn.close("Rejected", "RunIDUsed", text)


def admitted(turn: Turn, take: TakeSlot, full: str) -> Decision:
    """Continue after the slots have answered (`full` is the reason why there is none): create the Job, or wait."""
    document = turn.accepted(take.plan)
    document.fields["quota"] = status.quota_status(take.windows.states)
    document.condition("QuotaReserved", True, "Reserved", "a place in every window is reserved")
    if full:
        text = f"waiting for a free place ({full}); it starts by itself"
        return wait(turn, take.plan, document, full, text, quiet=True)
    going_on = pausing.going_on(turn, document)
    document.resume(going_on)
    document.phase("Pending", "PodStarting", "the export pod is starting")
    if turn.seen.job is not None:  # it was suspended, and has a slot again
        event = turn.event("Normal", "Resumed", going_on)
        return Decision((SuspendJob(turn.seen.job, suspend=False), *event, *turn.write(document)))
    capped = take.plan.capped(take.windows.max_rows, take.windows.max_bytes)
    manifest = jobs.build_job(turn.request, capped, turn.settings.pods)
    document.fields["jobRef"] = {"namespace": manifest["metadata"]["namespace"], "name": manifest["metadata"]["name"]}
    create = CreateJob(manifest, confirm=not take.windows.first)
    if take.plan.queue:
        document.queue(*kueue.handed_over(take.plan.queue))
        # A slot that it took before its policy named the queue is of no use to it.
        return Decision((create, *turn.write(document), *turn.free_slot()))
    document.fields["startTime"] = times.render(turn.now)
    document.fields["attempts"] = 1  # as the next look at the Job would say: one write less
    return Decision((create, turn.started(document), *turn.write(document)))


def _down(turn: Turn, found: plan.Plan, subject: Subject, known: breaker.Breaker) -> Decision:
    """Nothing is reserved and nothing is tried while it is down; only the queue deadline goes on."""
    reason = f"{subject.kind}Unavailable"
    text = (
        f"{subject.kind.lower()} {subject.name!r} is down since {times.render(known.down_since)}: {known.fault}."
        " It starts by itself when that is mended."
    )
    return wait(turn, found, turn.accepted(found), reason, text, first=(Hold(subject),), at_most=MAX_DOWN_SECONDS)


def held(turn: Turn, reason: str, text: str) -> Decision:
    """The wish stays and is tried again; status says of which run, so that this run stays the one of record."""
    document = turn.document()
    document.fields.pop("queue", None)
    document.phase("Pending", reason, text)
    if reason == "LedgerUnavailable" and not document.says("QuotaReserved"):  # what is reserved stays so
        document.condition("QuotaReserved", False, reason, text)
    return Decision((*turn.event("Warning", reason, text), *turn.write(document)), HOLD_SECONDS)


def refused(turn: Turn, reason: str, text: str) -> Decision:
    """The API server takes no Job: it is tried again until the start deadline, and then the request fails."""
    found = turn.make_plan()
    known = (item for item in turn.known.get("conditions") or () if item["type"] == "Reconciling")
    since = next((times.parse(item["lastTransitionTime"]) for item in known if item["reason"] in ENDINGS), None)
    seconds = found.effective.start_deadline_seconds
    if since is not None and turn.now - since > timedelta(seconds=seconds):
        problem = endings.problem(reason, f"{text} (start deadline {seconds} s)")
        document = turn.accepted(found)
        document.fields["failure"] = status.failure_status(problem, attempts=0)
        told = f"{problem.message}. {problem.advice}"
        return turn.close("Failed", reason, told, document=document, first=(Refund(turn.run),))
    document = turn.document()
    document.fields.pop("queue", None)
    document.phase("Pending", reason, text)
    if since is None:
        document.drop_condition("Reconciling")  # of something else, from another moment on
    document.condition("Reconciling", True, reason, text)
    return Decision((*turn.event("Warning", reason, text), *turn.write(document)), HOLD_SECONDS)


def _wait_to_appear(turn: Turn, refusal: lookup.RefusalError, seconds: float) -> Decision:
    document = turn.document()
    document.phase("Pending", refusal.reason, refusal.message)
    document.condition("Reconciling", True, refusal.reason, refusal.message)
    return Decision(turn.write(document), seconds)


def _over_quota(turn: Turn, reserve: Reserve, answer: quota.Admission) -> Decision:
    document = turn.accepted(reserve.plan)
    document.fields["quota"] = status.quota_status(answer.states)
    full = [state for state in answer.states if state.full]
    told = " and ".join(map(_told, full))
    reason = "TooManyLaunches" if all(state.resource == "launches" for state in full) else "QuotaExceeded"
    document.condition("QuotaReserved", False, reason, told)
    # Windows that an operator reserved before it died are given back too: a refused run holds nothing.
    give_back: tuple[Action, ...] = () if turn.seen.job is not None else (Refund(turn.run),)
    moments = [state.next_eligible for state in full]
    free = None if None in moments else max(moment for moment in moments if moment is not None)
    if free is None:
        text = f"{told}. Ask the platform team for a larger quota."
        return turn.close("Rejected", reason, text, document=document, first=give_back)
    moment = times.render(free)
    if reserve.plan.effective.on_quota_exceeded == "Reject":
        text = f"{told}. The next one is possible at {moment}; with onQuotaExceeded: Queue a request waits for it."
        return turn.close("Rejected", reason, text, document=document, first=give_back)
    line = turn.seen.forecast.position if turn.seen.forecast is not None else 1
    then = (
        f"It starts by itself at {moment}."
        if line == 1
        else f"It is number {line} in line; the first starts at {moment}."
    )
    text = f"{told}. {then}"
    return wait(turn, reserve.plan, document, reason, text, free=free, first=(*give_back, *turn.free_slot()))


def wait(
    turn: Turn,
    found: plan.Plan,
    document: status.Document,
    reason: str,
    text: str,
    *,
    free: datetime | None = None,
    first: tuple[Action, ...] = (),
    at_most: float = MAX_WAIT_SECONDS,
    quiet: bool = False,
) -> Decision:
    """Wait in the queue until something changes, at most to its deadline; unless too many wait already. `free` is when
    a window is said to have room. `quiet` writes no Event: that others go first is in status, and nobody need act."""
    limits = turn.terms.max_queued
    full = _crowded(turn, limits)
    if full is not None:
        subject, limit = full
        told = (
            f"{limit} requests of {subject.kind.lower()} {subject.name!r} wait already, as many as policy"
            f" {turn.policy.name!r} allows. Wait until one has ended, or cancel one; then set a new spec.runID."
        )
        return turn.close("Rejected", "TooManyQueued", told, document=document, first=(Refund(turn.run),))
    if document.says("Suspended"):
        document.fields["queuedTime"] = times.render(turn.now)
        document.resume(pausing.going_on(turn, document))
    document.queue(reason, text, free, turn.seen.forecast)
    queued = times.parse(document.fields["queuedTime"]) or turn.now
    left = queued + timedelta(seconds=found.effective.queue_deadline_seconds + 1) - turn.now
    event = () if quiet else turn.event("Normal", reason, text)
    actions = (Wait(frozenset(limits)), *first, *event, *turn.write(document))
    return Decision(actions, min(max(left.total_seconds(), 1.0), at_most))


def _crowded(turn: Turn, limits: Mapping[Subject, int | None]) -> tuple[Subject, int] | None:
    """Of whom as many requests wait as may. One that waits already goes on, and so does one that has a Job."""
    if turn.seen.waits or turn.known.get("queuedTime") or turn.seen.job is not None:
        return None
    return next(
        (
            (subject, limit)
            for subject, limit in limits.items()
            if limit is not None and turn.seen.queued.get(subject, 0) >= limit
        ),
        None,
    )


def _told(state: quota.WindowState) -> str:
    """What is used up, for people."""
    limit, name = state.limit, state.limit.subject.name
    if state.resource == "unfinished":
        return f"{state.used} runs of {name!r} wait or are under way, which is as many as can be told apart"
    if state.resource in {"rows", "bytes"} and state.used < state.maximum:
        left = state.maximum - state.used
        return (
            f"of {state.maximum} {state.resource} of {name!r} {limit.window} {left} are left, fewer than this export is"
            f" expected to have (policy {limit.policy!r})"
        )
    count = f"{state.used} of {state.maximum} {state.resource} of {name!r}"
    return f"{count} {limit.window} are used (policy {limit.policy!r})"


def _queue_deadline(turn: Turn, found: plan.Plan) -> Decision:
    problem = outcome.queue_deadline(found.effective.queue_deadline_seconds)
    document = turn.accepted(found)
    document.fields["failure"] = status.failure_status(problem, attempts=0)
    return turn.close("Failed", problem.reason, problem.message, document=document, first=(Refund(turn.run),))
