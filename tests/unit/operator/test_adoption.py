"""A request that is made again: which end it takes over, what it says of it, and when it runs after all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain.actions import (
    Bury,
    Decision,
    DeleteRequest,
    Emit,
    Observation,
    Refund,
    Reserve,
    WriteStatus,
)
from export_operator.domain.adoption import stone_of
from export_operator.domain.decide import decide, reserved
from export_operator.domain.identity import Enforcement, Subject
from export_operator.domain.model import Named, Request
from export_operator.domain.quota import Admission
from export_operator.domain.tombstones import NOTHING, Tombstone, Tombstones

from .builders import (
    KEY,
    MANIFEST_URI,
    NOW,
    RUN,
    SETTINGS,
    SHA,
    UID,
    URI,
    catalogue,
    destination,
    later,
    plan,
    request,
    seen,
    source,
)

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")
RESULT = {"uri": URI, "manifestURI": MANIFEST_URI, "rows": 100, "bytes": 2048, "sha256": SHA, "complete": True}
STATUS: dict[str, Any] = {
    "phase": "Succeeded",
    "runID": "",
    "run": RUN,
    "observedGeneration": 1,
    "completionTime": "2026-11-24T12:00:00Z",
    "effective": plan().effective.as_status(),
    "result": RESULT | {"peakMemoryBytes": 5, "timings": {"total": 1.0}},
}
STONE = Tombstone(
    request=KEY,
    uid=UID,
    user="alice",
    digest=plan().effective.digest,
    run=RUN,
    run_id="",
    phase="Succeeded",
    ended=NOW,
    time=later(604_800),
    expired=True,
    result=RESULT,
)
BORN = later(1_036_800)
AGAIN = request(uid="another", created=BORN)
MANAGED = replace(AGAIN, annotations={"argocd.argoproj.io/tracking-id": "app"})
HOOK = replace(MANAGED, annotations=dict(MANAGED.annotations) | {"argocd.argoproj.io/hook": "Sync"})


def done(given: Request = AGAIN, stone: Tombstone | None = STONE, **changes: Any) -> Decision:
    stones = Tombstones() if stone is None else Tombstones((stone,))
    return decide(seen(given, tombstones=stones, **changes), SETTINGS, BORN)


def runs(decision: Decision) -> bool:
    return any(isinstance(action, Reserve) for action in decision.actions)


def test_it_ends_as_the_earlier_one_ended_and_says_how_old_that_is() -> None:
    event, write = done().actions
    text = (
        "adopted: an earlier request of this name delivered at 2026-11-24T12:00:00Z, 12 days ago. Nothing ran and"
        " nothing was charged. Set a spec.runID that it has not had to run it anew."
    )
    turned = "2026-12-06T12:00:00Z"
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": said,
            "observedGeneration": 1,
            "lastTransitionTime": turned,
        }
        for kind, reason, said in (
            ("Accepted", "Valid", "the request is valid under its policy"),
            ("Adopted", "Expired", text),
            ("Complete", "Adopted", text),
        )
    ]
    assert event == Emit("Normal", "Adopted", text, AGAIN.run)
    assert write == WriteStatus(
        {
            "phase": "Succeeded",
            "reason": "Adopted",
            "message": text,
            "runID": "",
            "run": AGAIN.run,
            "observedGeneration": 1,
            "completionTime": turned,
            "attempts": 0,
            "effective": STATUS["effective"],
            "adopted": {"run": RUN, "uid": UID, "completionTime": "2026-11-24T12:00:00Z"},
            "result": RESULT,
            "progress": {"rows": 100, "bytes": 2048},
            "conditions": conditions,
        }
    )


@pytest.mark.parametrize(
    ("phase", "failure", "condition", "said"),
    [
        ("Failed", {"reason": "SourceTimeout", "class": "Source"}, "Failed", "failed (SourceTimeout)"),
        ("Cancelled", {}, "Failed", "was cancelled"),
        ("PartiallySucceeded", {}, "Complete", "delivered in part"),
    ],
)
def test_every_end_is_taken_over_as_it_was(phase: str, failure: dict[str, Any], condition: str, said: str) -> None:
    (write,) = (
        each
        for each in done(stone=replace(STONE, phase=phase, failure=failure)).actions
        if isinstance(each, WriteStatus)
    )
    status = write.status
    types = [item["type"] for item in status["conditions"]]
    assert (status["phase"], status.get("failure", {}), types, said in status["message"]) == (
        phase,
        failure,
        ["Accepted", "Adopted", condition],
        True,
    )


@pytest.mark.parametrize(
    ("given", "stone", "expected"),
    [
        (AGAIN, STONE, False),
        (AGAIN, None, True),
        (AGAIN, replace(STONE, expired=False), True),
        (MANAGED, replace(STONE, expired=False), False),
        (MANAGED, STONE, False),
        (HOOK, STONE, True),
        (AGAIN, replace(STONE, uid="another"), True),
        (AGAIN, replace(STONE, user="bob"), True),
        (AGAIN, replace(STONE, digest="00" * 32), True),
        (AGAIN, replace(STONE, run_id="again"), True),
        (replace(AGAIN, spec={**AGAIN.spec, "runID": "again"}), STONE, True),
        (replace(AGAIN, spec={**AGAIN.spec, "runID": "again"}), replace(STONE, run_id="again"), False),
    ],
)
def test_it_runs_unless_nobody_may_have_asked_for_it_again(
    given: Request, stone: Tombstone | None, expected: bool
) -> None:
    assert runs(done(given, stone)) is expected


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (catalogue(destination()), "SourceNotFound"),
        (catalogue(source(allowedNamespaces=["team-b"]), destination()), "SourceNotFound"),
        (catalogue(policies=(Named("p", {"allowed": {"sources": ["other"]}}),)), "SourceNotAllowed"),
        (
            catalogue(policies=(Named("p", {"allowed": {"datasets": [{"source": "app-db", "dataset": "signups"}]}}),)),
            "DatasetNotAllowed",
        ),
    ],
)
def test_whoever_has_no_access_any_more_adopts_nothing(known: Any, reason: str) -> None:
    decision = done(replace(AGAIN, created=NOW), catalogue=known)
    assert [each.status["reason"] for each in decision.actions if isinstance(each, WriteStatus)] == [reason]


def test_nothing_is_adopted_while_nobody_attests_who_asks() -> None:
    blind = Enforcement(enforced=False, message="the policies are missing")
    written = [each.status for each in done(identity=blind).actions if isinstance(each, WriteStatus)]
    assert [each["reason"] for each in written] == ["IdentityNotEnforced"]


def test_a_tombstone_that_shows_only_when_the_windows_are_reserved_is_found_all_the_same() -> None:
    observed = seen(AGAIN)
    (reserve,) = decide(observed, SETTINGS, BORN).actions
    assert isinstance(reserve, Reserve)
    late = replace(observed, tombstones=Tombstones((STONE,)))
    refund, *rest = reserved(late, reserve, Admission(True), SETTINGS, BORN).actions
    assert (refund, tuple(rest)) == (Refund(AGAIN.run), done().actions)


def ended(**changes: Any) -> Request:
    return request(status=STATUS, ttlSecondsAfterFinished=60, **changes)


def test_it_says_so_when_the_objects_went_with_the_earlier_request() -> None:
    (bury, _) = after(ended(deletionPolicy="Delete"), 60)
    gone = {"expirationTime": "2026-11-24T12:01:00Z", "deleted": True}
    assert bury == Bury(ALICE, replace(STONE, time=later(60), result=RESULT | gone))
    (write,) = (each for each in done(stone=bury.stone).actions if isinstance(each, WriteStatus))
    assert write.status["result"] == RESULT | gone
    assert "The time of its objects was over at 2026-11-24T12:01:00Z." in write.status["message"]


def test_what_a_tool_manages_is_not_remembered_when_its_objects_go_with_it() -> None:
    given = replace(ended(deletionPolicy="Delete"), labels={"kustomize.toolkit.fluxcd.io/name": "apps"})
    assert after(given, 1) == []


def after(given: Request, seconds: float, stones: Tombstones = NOTHING) -> list[Any]:
    actions = decide(seen(given, tombstones=stones), SETTINGS, later(seconds)).actions
    return [action for action in actions if not isinstance(action, WriteStatus)]


def test_one_that_goes_after_its_time_is_remembered_first() -> None:
    gone = replace(STONE, time=later(60))
    assert after(ended(), 60) == [Bury(ALICE, gone), DeleteRequest(ended())]
    # Whoever dies between the two finds it buried, a little earlier.
    assert after(ended(), 70, Tombstones((gone,))) == [DeleteRequest(ended())]


def test_one_that_need_not_go_at_once_waits_for_another_write_to_take_its_tombstone_along() -> None:
    """Half of what it had beyond a minute, and a minute at most."""
    given = replace(ended(), spec={**ended().spec, "ttlSecondsAfterFinished": 120})
    stone = replace(STONE, time=later(121))
    decision = decide(seen(given), SETTINGS, later(121))
    assert decision == Decision((Bury(ALICE, stone, along=True),), 29.5)
    assert after(given, 122, Tombstones((stone,))) == [DeleteRequest(given)]
    assert after(given, 150) == [Bury(ALICE, replace(stone, time=later(150))), DeleteRequest(given)]
    late = replace(given, spec={**given.spec, "ttlSecondsAfterFinished": 600})
    assert after(late, 660) == [Bury(ALICE, replace(stone, time=later(660))), DeleteRequest(late)]


def test_a_tombstone_of_an_earlier_run_is_not_that_of_this_one() -> None:
    given = request(status=STATUS | {"runID": "again"}, ttlSecondsAfterFinished=60, runID="again")
    assert [type(each).__name__ for each in after(given, 60, Tombstones((STONE,)))] == ["Bury", "DeleteRequest"]


def test_one_that_a_tool_manages_is_remembered_from_its_end_on() -> None:
    managed = replace(ended(), labels={"kustomize.toolkit.fluxcd.io/name": "apps"})
    stone = replace(STONE, time=NOW, expired=False)
    assert after(managed, 1) == [Bury(ALICE, stone)]
    assert after(managed, 1, Tombstones((stone,))) == []


def test_what_was_remembered_of_a_name_is_forgotten_when_people_use_it() -> None:
    unbury = [type(action).__name__ for action in after(ended(), 1, Tombstones((STONE,)))]
    assert unbury == ["Unbury"]


@pytest.mark.parametrize(
    "changes",
    [{"phase": "Rejected"}, {"effective": None}, {"completionTime": None}],
    ids=["it cost nothing", "nobody knows what was asked", "nobody knows when"],
)
def test_some_ends_are_not_remembered(changes: dict[str, Any]) -> None:
    assert stone_of(replace(ended(), status=STATUS | changes)) is None


def test_the_requests_of_a_schedule_are_not_remembered() -> None:
    assert stone_of(replace(ended(), scheduled=True)) is None


def test_the_one_that_adopted_is_remembered_with_the_run_that_delivered() -> None:
    (write,) = (each for each in done(MANAGED).actions if isinstance(each, WriteStatus))
    kept = stone_of(replace(MANAGED, status=write.status))
    assert kept == replace(STONE, uid="another", time=BORN, expired=False)


def test_a_kept_one_is_remembered_as_it_ended() -> None:
    before = replace(ended(expiry="Keep"), annotations=MANAGED.annotations)
    complete = {"type": "Complete", "status": "True", "reason": "Delivered", "message": ""}
    observed: Observation = seen(replace(before, status=STATUS | {"conditions": [complete]}))
    (write,) = (each for each in decide(observed, SETTINGS, later(60)).actions if isinstance(each, WriteStatus))
    assert (write.status["phase"], stone_of(replace(before, status=write.status))) == (
        "Expired",
        replace(STONE, time=NOW, expired=False),
    )


def test_the_clock_is_that_of_the_adoption() -> None:
    (write,) = (each for each in done().actions if isinstance(each, WriteStatus))
    adopted = replace(AGAIN, status=write.status)
    stones = Tombstones((STONE,))
    soon = decide(seen(adopted, tombstones=stones), SETTINGS, BORN)
    assert ([type(each).__name__ for each in soon.actions], soon.requeue_after) == (["Unbury"], 3600)
