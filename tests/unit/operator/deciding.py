"""What is seen of requests, what is decided about it, and a decision in words: for the tests of decisions."""

from __future__ import annotations

from typing import Any

import pytest

from export_operator.domain.actions import (
    Action,
    Bury,
    CreateJob,
    Decision,
    DeleteJob,
    DeletePods,
    DeleteRequest,
    Emit,
    Hold,
    Learn,
    LosePod,
    Observation,
    Recall,
    Refund,
    ReleaseSlot,
    Reserve,
    Seek,
    SetActive,
    Settle,
    StopJob,
    SuspendJob,
    TakeSlot,
    Unbury,
    Undo,
    Wait,
    WriteStatus,
)
from export_operator.domain.breaker import DESTINATION, SOURCE, Breaker, State
from export_operator.domain.decide import admitted, decide, reserved
from export_operator.domain.identity import Subject
from export_operator.domain.model import Named
from export_operator.domain.notices import Notice
from export_operator.domain.quota import Admission, WindowState

from .builders import (
    NOW,
    RUN,
    SETTINGS,
    ended_pod,
    job,
    later,
    plan,
    pod,
    running_pod,
    seen,
)

ENDED = {
    "phase": "Succeeded",
    "runID": "",
    "run": RUN,
    "observedGeneration": 1,
    "completionTime": "2026-11-24T12:00:00Z",
}
FAILED = ENDED | {"phase": "Failed"}
EXPIRED = {"phase": "Expired", "reason": "TTLExpired", "message": ""}
SPARE_URI = f"s3://spare/held/team-a/users-2026-11/{RUN}/users-2026-11.csv"
EFFECTIVE = plan().effective.as_status()
LAUNCHED = {
    "phase": "Running",
    "reason": "Exporting",
    "message": "rows are being exported",
    "runID": "",
    "run": RUN,
    "observedGeneration": 1,
    "jobRef": {"namespace": "export-runs", "name": job().name},
    "startTime": "2026-11-24T12:00:00Z",
    "attempts": 1,
    "effective": EFFECTIVE,
    "conditions": [],
}
QUEUED = {
    "phase": "Queued",
    "reason": "QuotaExceeded",
    "runID": "",
    "run": RUN,
    "queuedTime": "2026-11-24T12:00:00Z",
}
SUSPENDED = LAUNCHED | {
    "phase": "Queued",
    "reason": "Suspended",
    "conditions": [
        {
            "type": "Suspended",
            "status": "True",
            "reason": "Suspended",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T12:00:00Z",
        }
    ],
}
RESUMED = SUSPENDED | {
    "phase": "Pending",
    "conditions": [
        SUSPENDED["conditions"][0]  # type: ignore[index]
        | {"status": "False", "reason": "Resumed", "lastTransitionTime": "2026-11-24T13:00:00Z"}
    ],
}


def told(action: Action) -> str:
    """An action in a word, with what matters about it here."""
    match action:
        case WriteStatus(status):
            return f"status {status['phase']} {status['reason']}"
        case Emit(kind, reason, _, _):
            return f"{kind} event {reason}"
        case StopJob(_, reason, _):
            return f"stop {reason}"
        case SuspendJob(_, suspend):
            return "suspend" if suspend else "let go on"
        case SetActive(_, active):
            return "back into Kueue's queue" if active else "out of Kueue's queue"
        case CreateJob():
            return "create the Job"
        case DeleteJob(_):
            return "delete the Job"
        case DeletePods():
            return "delete its pods"
        case Undo(objects=objects):
            return "undo what is left, and the objects" if objects else "undo what is left"
        case LosePod(each):
            return f"give up {each.name}"
        case Seek():
            return "look for the manifest"
        case DeleteRequest(_):
            return "delete the request"
        case Bury():
            return "bury"
        case Unbury():
            return "unbury"
        case ReleaseSlot(_):
            return "release the slot"
        case Refund(_):
            return "refund"
        case Settle(_, soon):
            return "settle soon" if soon else "settle"
        case Reserve():
            return "ask the windows"
        case TakeSlot():
            return "ask for a slot"
        case Hold(subject):
            return f"hold for {subject.kind}"
        case Learn(verdicts, _, _):
            return "learn " + ", ".join(f"{each.subject.kind} {each.failure or 'works'}" for each in verdicts)
        case Wait(_):
            return "wait"
        case Recall():
            return "recall"


def summary(decision: Decision) -> list[str]:
    return [told(action) for action in decision.actions]


def outcome(observed: Observation, seconds: float) -> tuple[list[str], Any]:
    """What is done so many seconds after `NOW`, in words, and in how many it is looked at again."""
    decision = decide(observed, SETTINGS, later(seconds))
    return summary(decision), None if decision.requeue_after is None else pytest.approx(decision.requeue_after)


HERE, THERE = Subject(SOURCE, "app-db"), Subject(DESTINATION, "bucket")
OPEN = Breaker(State.OPEN, down_since=later(-60), fault="connection refused")
DOWN = {HERE: OPEN}
OVER_QUOTA = Notice("FailedCreate", 'pods "x" is forbidden: exceeded quota: few, requested: pods=1', NOW)
FOUR_ENDED = tuple(ended_pod(82, name=f"pod-{number}", finished=later(20 * number)) for number in range(4))
LEAVING = running_pod(node="node", deleting=True, gone_by=later(30))
WAITING_POD = pod(waiting_reason="ErrImagePull", waiting_message="no")


def status_of(decision: Decision) -> dict[str, Any]:
    return dict(next(action.status for action in decision.actions if isinstance(action, WriteStatus)))


def ask(observed: Observation) -> Reserve:
    action = decide(observed, SETTINGS, NOW).actions[-1]
    assert isinstance(action, Reserve)
    return action


def answered(observed: Observation, answer: Admission, full: str = "") -> Decision:
    """What follows when the windows say this and, where they have room, the slots say that."""
    decision = reserved(observed, ask(observed), answer, SETTINGS, NOW)
    take = decision.actions[0]
    return admitted(observed, take, full, SETTINGS, NOW) if isinstance(take, TakeSlot) else decision


ROOM = Admission(granted=True)
ALICE, TEAM, POLICY = Subject("User", "alice"), Subject("Namespace", "team-a"), Subject("Policy", "crowded")
CROWDED = (
    Named("crowded", {"limits": {"user": {"maxQueued": 2}, "namespace": {"maxQueued": 3}, "all": {"maxQueued": 4}}}),
)


def full(free: float | None, **changes: Any) -> Admission:
    state = WindowState(ask(seen()).limits[0], "requests", 5, 5, True, None if free is None else later(free))
    return Admission(False, (state._replace(**changes),))
