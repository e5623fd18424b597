"""Who asks is believed only where the policies were at work when it was written down."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain import identity
from export_operator.domain.actions import Emit, Observation, Reserve, WriteStatus
from export_operator.domain.decide import decide
from export_operator.domain.identity import PATIENCE, Enforcement, Finding, Span
from export_operator.domain.model import EPOCH

from .builders import ENFORCED, NOW, RUN, SETTINGS, later, request, seen

pytestmark = pytest.mark.unit

INSTALLED = NOW - timedelta(days=1)
GAP = "check-identity.export-operator.io is missing"


def good(time: datetime) -> Finding:
    return Finding(time, True, since=INSTALLED)


def blind(time: datetime) -> Finding:
    return Finding(time, False, GAP)


def unknown(time: datetime) -> Finding:
    return Finding(time, None, "the API server is away")


def after(*findings: Finding) -> Enforcement:
    state = Enforcement()
    for finding in findings:
        state = state.after(finding)
    return state


def test_nothing_is_enforced_before_the_first_look() -> None:
    assert not Enforcement().enforced


def test_a_gap_stops_admission_at_once_and_the_next_good_look_lets_it_go_on() -> None:
    assert after(good(NOW), blind(later(60))) == Enforcement(
        enforced=False, message=GAP, since=INSTALLED, good=NOW, blind=(Span(NOW),)
    )
    assert after(good(NOW), blind(later(60)), good(later(120))) == Enforcement(
        enforced=True, message="", since=INSTALLED, good=later(120), blind=(Span(NOW, later(120)),)
    )


def test_an_api_server_that_is_away_stops_admission_when_the_last_good_look_is_too_old() -> None:
    limit = PATIENCE.total_seconds()
    assert after(good(NOW), unknown(later(limit))) == after(good(NOW))
    assert after(good(NOW), unknown(later(limit + 1))) == Enforcement(
        enforced=False, message="the API server is away", since=INSTALLED, good=NOW
    )
    assert not after(unknown(NOW)).enforced


@pytest.mark.parametrize(
    ("born", "doubted"),
    [
        pytest.param(INSTALLED - timedelta(seconds=1), True, id="before the policies"),
        pytest.param(INSTALLED, True, id="in the second of the policies"),
        pytest.param(INSTALLED + timedelta(seconds=3), False, id="after the policies"),
        pytest.param(later(0), False, id="in the second before the last good look"),
        pytest.param(later(1), True, id="in the second of the last good look"),
        pytest.param(later(60), True, id="between"),
        pytest.param(later(121), True, id="in the second of the next good look"),
        pytest.param(later(122), False, id="after it"),
    ],
)
def test_what_was_created_while_nobody_looked_is_doubted(born: datetime, doubted: bool) -> None:
    state = after(good(later(1.5)), blind(later(61)), good(later(121)))
    assert state.doubts(request(created=born)) is doubted


def test_an_operator_that_begins_blind_doubts_everything_until_then() -> None:
    state = after(blind(NOW), good(later(2)))
    assert state.blind == (Span(EPOCH, later(2)),)
    assert state.doubts(request(created=NOW - timedelta(hours=1)))
    assert not state.doubts(request(created=later(3)))


findings = st.lists(
    st.tuples(st.integers(1, 100), st.sampled_from([good, blind, unknown])), min_size=1, max_size=120
).map(
    lambda steps: [
        make(later(sum(seconds for seconds, _ in steps[: number + 1]))) for number, (_, make) in enumerate(steps)
    ]
)


@given(findings, st.integers(0, 12_000))
def test_whatever_the_canary_sees_nothing_written_in_a_gap_is_believed(seen: list[Finding], second: int) -> None:
    """The truth: a gap may be open from the good look before it was seen until the good look after."""
    state, born = after(*seen), later(second)
    known = [finding for finding in seen if finding.enforced is not None]
    in_gap = any(
        not finding.enforced
        and all(not other.enforced for other in known[:number] if other.time >= born)
        and all(not other.enforced for other in known[number:] if other.time <= born)
        for number, finding in enumerate(known)
    )
    assert state.doubts(request(created=born)) or not in_gap
    assert len(state.blind) <= identity.MAX_SPANS
    assert state.enforced is False or not state.blind or state.blind[-1].end is not None


# What is decided by it.

BLIND = after(good(NOW - timedelta(minutes=2)), blind(NOW - timedelta(minutes=1)))
MENDED = BLIND.after(good(later(10)))


def outcome(observed: Observation) -> list[Any]:
    found: list[Any] = []
    for action in decide(observed, SETTINGS, later(20)).actions:
        match action:
            case WriteStatus(wanted):
                found.append((wanted["phase"], wanted["reason"]))
            case Reserve() | Emit():
                found.append(type(action).__name__)
    return found


def status_of(observed: Observation) -> dict[str, Any]:
    (written,) = (each for each in decide(observed, SETTINGS, NOW).actions if isinstance(each, WriteStatus))
    return dict(written.status)


def test_nothing_is_admitted_while_it_is_not_enforced() -> None:
    for each in (request(), request(created=NOW - timedelta(hours=1)), request(suspend=True)):
        assert outcome(seen(each, identity=BLIND)) == ["Emit", ("Pending", "IdentityNotEnforced")]
    told = status_of(seen(identity=BLIND))
    assert GAP in told["message"]
    assert {item["type"]: (item["status"], item["reason"]) for item in told["conditions"]} == {
        "Accepted": ("False", "IdentityNotAttested"),
        "Reconciling": ("True", "IdentityNotEnforced"),
    }


def test_a_held_request_says_so_once() -> None:
    held = request(status=status_of(seen(identity=BLIND)))
    assert decide(seen(held, identity=BLIND), SETTINGS, later(5)).actions == ()


def test_what_was_created_in_a_gap_is_rejected_when_it_is_mended() -> None:
    assert outcome(seen(identity=MENDED)) == ["Emit", ("Rejected", "IdentityNotAttested")]


def test_what_was_created_before_the_gap_goes_on_when_it_is_mended() -> None:
    old = request(created=NOW - timedelta(hours=1))
    held = request(created=old.created, status=status_of(seen(old, identity=BLIND)))
    assert outcome(seen(held, identity=MENDED)) == ["Reserve"]


def test_another_operator_that_never_saw_the_gap_rejects_what_was_held_in_it() -> None:
    held = request(status=status_of(seen(identity=BLIND)))
    assert outcome(seen(held, identity=ENFORCED)) == ["Emit", ("Rejected", "IdentityNotAttested")]


def test_what_is_older_than_the_policies_counts_only_when_the_ledger_knows_it() -> None:
    old = request(created=INSTALLED - timedelta(days=1))
    present = after(good(NOW))
    assert outcome(seen(old, identity=present)) == ["Emit", ("Rejected", "IdentityNotAttested")]
    assert outcome(seen(old, identity=present, unsettled=True)) == ["Reserve"]
    assert outcome(seen(old, identity=present, slot_held=True)) == ["Reserve"]


def test_a_status_that_says_accepted_proves_nothing() -> None:
    """Whoever may write everything in a namespace writes that too, as long as no policy refuses it."""
    forged = {
        "phase": "Queued",
        "run": RUN,
        "runID": "",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Valid", "message": ""}],
    }
    assert outcome(seen(request(status=forged), identity=MENDED)) == ["Emit", ("Rejected", "IdentityNotAttested")]


def test_where_it_is_declared_no_submitter_is_needed_and_no_group_counts() -> None:
    unsigned = request(submittedBy=None)
    declared = Enforcement("Declared", enforced=True)
    assert outcome(seen(unsigned, identity=declared)) == ["Reserve"]
    assert unsigned.groups == frozenset()
    assert outcome(seen(request(requester=None), identity=declared)) == ["Emit", ("Rejected", "IdentityNotAttested")]


# Speaking for others.


@pytest.mark.parametrize(
    ("downloader", "granted", "expected"),
    [
        ("alice", [], True),
        ("bob", [], False),
        ("bob", ["act-as"], True),
        ("bob", ["act-as", "by-wildcard"], False),
        ("", ["act-as"], False),
    ],
)
def test_a_result_is_for_its_requester_and_who_may_act_as_it(
    downloader: str, granted: list[str], expected: bool
) -> None:
    assert identity.may_download(downloader, request(), granted) is expected


def test_what_nobody_attested_is_nobodys_to_download() -> None:
    assert not identity.may_download("", request(requester=None), [])


def test_the_api_server_is_asked_by_name_and_namespace() -> None:
    assert identity.review("act-as", "bob", {"analysts"}, "alice", "team-a") == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "bob",
            "groups": ["analysts"],
            "resourceAttributes": {
                "group": "export-operator.io",
                "resource": "requesters",
                "name": "alice",
                "namespace": "team-a",
                "verb": "act-as",
            },
        },
    }


# Policies that are there, and spare somebody.

POLICY: dict[str, Any] = {
    "metadata": {"name": "check"},
    "spec": {"failurePolicy": "Fail", "matchConstraints": {"namespaceSelector": {}, "objectSelector": {}}},
}
BINDING: dict[str, Any] = {"spec": {"policyName": "check", "validationActions": ["Deny"]}}
SELECTED = {"matchLabels": {"spared": "no"}}


def test_a_policy_that_spares_nobody_has_no_weakness() -> None:
    assert identity.find_weakness(POLICY, BINDING, denies=True) == ""
    assert identity.find_weakness(POLICY, {"spec": {"policyName": "check"}}, denies=False) == ""


@pytest.mark.parametrize(
    ("policy", "binding"),
    [
        ({"failurePolicy": "Ignore"}, {}),
        ({"matchConditions": [{"name": "x", "expression": "false"}]}, {}),
        ({"paramKind": {"kind": "ConfigMap"}}, {}),
        ({"matchConstraints": {"namespaceSelector": SELECTED}}, {}),
        ({"matchConstraints": {"objectSelector": SELECTED}}, {}),
        ({"matchConstraints": {"excludeResourceRules": [{"resources": ["*"]}]}}, {}),
        ({}, {"paramRef": {"name": "x"}}),
        ({}, {"matchResources": {"namespaceSelector": SELECTED}}),
        ({}, {"policyName": "other"}),
        ({}, {"validationActions": ["Audit"]}),
        ({}, {"validationActions": None}),
    ],
)
def test_a_policy_that_spares_somebody_is_found(policy: dict[str, Any], binding: dict[str, Any]) -> None:
    weak = {**POLICY, "spec": POLICY["spec"] | policy}, {"spec": BINDING["spec"] | binding}
    assert identity.find_weakness(*weak, denies=True) != ""
