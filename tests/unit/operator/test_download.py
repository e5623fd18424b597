"""What comes of an ExportDownload: who gets links, to which run, for how long, and what it says meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from export_contract import names
from export_operator.domain import times
from export_operator.domain.download import (
    DEFAULT_SECONDS,
    MAX_SECONDS,
    PATIENCE,
    Download,
    Expire,
    Links,
    Refuse,
    Remove,
    Rest,
    Search,
    Seen,
    Wait,
    absent,
    bounded,
    decide,
    status,
)
from export_operator.domain.identity import Enforcement, Span
from export_operator.domain.model import Key, Named, Request

from .builders import (
    BUCKET_FALLBACK,
    DATABASE_FALLBACK,
    ENFORCED,
    KEY,
    NOW,
    RUN,
    UID,
    catalogue,
    destination,
    later,
    request,
)

pytestmark = pytest.mark.unit

DELIVERED: Mapping[str, Any] = {
    "phase": "Succeeded",
    "reason": "Delivered",
    "runID": "",
    "effective": {"destination": "bucket", "format": "CSV", "compression": "Gzip", "layout": "SingleObject"},
    "result": {"uri": "s3://somewhere/else", "usedFallback": False},
}
RECENTLY = later(60)


def download(
    status: Mapping[str, Any] | None = None, created: datetime = NOW, name: str = "mine", **changes: Any
) -> Download:
    """alice's, of her request's present run, unless `changes` say otherwise. A change to None takes the field away."""
    fields: dict[str, Any] = {
        "requestName": KEY.name,
        "requester": {"username": "alice"},
        "submittedBy": {"username": "alice", "groups": ["analysts"]},
    }
    return Download(
        key=Key(KEY.namespace, name),
        uid="download-uid",
        resource_version="9",
        generation=1,
        created=created,
        spec={field: value for field, value in (fields | changes).items() if value is not None},
        status={"observedGeneration": -1} if status is None else status,
    )


def delivered(status: Mapping[str, Any] = DELIVERED, **changes: Any) -> Request:
    return request(status=status, **changes)


def seen(given: Download | None = None, of: Request | None = None, **changes: Any) -> Seen:
    known: dict[str, Any] = {"catalogue": catalogue(), "identity": ENFORCED}
    return Seen(given or download(), of or delivered(), **(known | changes))


def found(given: Seen, now: datetime = RECENTLY) -> Search:
    answer = decide(given, now)
    assert isinstance(answer, Search), answer
    return answer


def reason(given: Seen, now: datetime = RECENTLY) -> tuple[str, str]:
    answer = decide(given, now)
    assert isinstance(answer, Wait | Refuse), answer
    return type(answer).__name__, answer.reason


# Where the objects are looked for.


def test_the_place_follows_from_request_and_destination_and_not_from_its_status() -> None:
    search = found(seen())
    keys = search.at.keys(search.destination.spec)
    assert keys.manifest == f"prod/team-a/{KEY.name}/{RUN}/manifest.json"
    assert search == Search(delivered(), destination(), search.at, DEFAULT_SECONDS)


def test_a_key_prefix_is_in_the_place() -> None:
    search = found(seen(of=delivered(destination={"name": "bucket", "keyPrefix": "a/b"})))
    assert search.at.keys({}).manifest == f"team-a/a/b/{KEY.name}/{RUN}/manifest.json"


@pytest.mark.parametrize(("asked", "expected"), [(None, "second"), ("second", "second"), ("", ""), ("first", "first")])
def test_an_earlier_run_may_be_asked_for(asked: str | None, expected: str) -> None:
    rerun = delivered({**DELIVERED, "runID": "second"}, runID="second")
    assert found(seen(download(runID=asked), rerun)).at.run == names.run_id(UID, expected)


def test_a_result_that_was_adopted_is_where_the_earlier_run_delivered_it() -> None:
    earlier = "0123456789abcdef0123"
    assert found(seen(of=delivered({**DELIVERED, "adopted": {"run": earlier}}))).at.run == earlier


def test_an_earlier_run_is_there_while_the_present_one_is_under_way() -> None:
    rerun = delivered({**DELIVERED, "phase": "Running", "runID": "second"}, runID="second")
    assert found(seen(download(runID=""), rerun)).at.run == RUN
    assert reason(seen(of=rerun)) == ("Wait", "RunNotFinished")


@pytest.mark.parametrize("name", ["bucket", "other"])
def test_a_destination_that_was_named_goes_before_the_one_that_was_taken(name: str) -> None:
    both = replace(catalogue(), destinations={"bucket": destination(), "other": Named("other", destination().spec)})
    assert found(seen(of=delivered(destination={"name": name}), catalogue=both)).destination.name == name


@pytest.mark.parametrize("known", [{"allowedNamespaces": ["team-b"]}, None])
def test_a_destination_that_is_gone_or_closed_to_the_namespace_gives_no_links(known: dict[str, Any] | None) -> None:
    there = {} if known is None else {"bucket": destination(**known)}
    assert reason(seen(catalogue=replace(catalogue(), destinations=there))) == ("Refuse", "DestinationNotFound")


# Who may.


@pytest.mark.parametrize(
    ("who", "granted", "allowed"),
    [
        ("alice", set(), True),
        ("bob", set(), False),
        ("bob", {"act-as"}, True),
        ("bob", {"act-as", "by-wildcard"}, False),
    ],
)
@pytest.mark.parametrize("phase", ["Succeeded", "Running", "Failed"])
def test_only_the_requester_or_who_may_act_as_it_learns_anything(
    who: str, granted: set[str], allowed: bool, phase: str
) -> None:
    theirs = download(requester={"username": who}, submittedBy={"username": who})
    answer = decide(seen(theirs, delivered({**DELIVERED, "phase": phase}), granted=granted), RECENTLY)
    assert (isinstance(answer, Refuse) and answer.reason == "NotAllowed") is not allowed


@pytest.mark.parametrize("field", ["requester", "submittedBy"])
def test_what_the_policies_did_not_see_gets_nothing(field: str) -> None:
    changes: dict[str, Any] = {field: None}
    assert reason(seen(download(**changes))) == ("Refuse", "IdentityNotAttested")


def test_where_clients_declare_themselves_nobody_attests_who_submits() -> None:
    declared = Enforcement("Declared", enforced=True)
    found(seen(download(submittedBy=None), identity=declared))


def test_what_was_made_in_a_gap_is_not_believed_while_it_lasts_nor_after() -> None:
    blind = (Span(later(-60)),)
    during = replace(ENFORCED, enforced=False, blind=blind)
    assert reason(seen(identity=during)) == ("Refuse", "IdentityNotAttested")
    after = replace(ENFORCED, blind=(Span(later(-60), later(30)),))
    assert reason(seen(identity=after)) == ("Refuse", "IdentityNotAttested")
    found(seen(download(created=later(40)), identity=after))


def test_it_waits_while_nobody_knows_whether_the_policies_are_at_work() -> None:
    assert reason(seen(identity=Enforcement())) == ("Wait", "IdentityNotEnforced")


# What there is to download.


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("", ("Wait", "RunNotFinished")),
        ("Queued", ("Wait", "RunNotFinished")),
        ("Running", ("Wait", "RunNotFinished")),
        ("Failed", ("Refuse", "NothingDelivered")),
        ("Rejected", ("Refuse", "NothingDelivered")),
        ("Cancelled", ("Refuse", "NothingDelivered")),
    ],
)
def test_a_run_that_has_delivered_nothing_is_waited_for_or_told(phase: str, expected: tuple[str, str]) -> None:
    assert reason(seen(of=delivered({**DELIVERED, "phase": phase}))) == expected


def test_a_run_is_waited_for_without_looking_again_and_again() -> None:
    answer = decide(seen(of=delivered({**DELIVERED, "phase": "Running"})), NOW + 2 * PATIENCE)
    assert isinstance(answer, Wait)
    assert answer.seconds is None


@pytest.mark.parametrize("phase", ["Succeeded", "PartiallySucceeded"])
def test_what_was_delivered_is_looked_for(phase: str) -> None:
    found(seen(of=delivered({**DELIVERED, "phase": phase})))


@pytest.mark.parametrize(("kind", "delivered_once"), [("Complete", True), ("Failed", False)])
def test_a_request_that_is_kept_as_expired_still_tells_how_it_ended(kind: str, delivered_once: bool) -> None:
    told = {**DELIVERED, "phase": "Expired", "conditions": [{"type": kind, "status": "True"}]}
    answer = decide(seen(of=delivered(told)), RECENTLY)
    assert isinstance(answer, Search if delivered_once else Refuse)


def test_request_and_download_may_be_applied_in_the_same_breath() -> None:
    missing = Seen(download(), None, catalogue(), ENFORCED)
    assert decide(missing, later(4)) == Wait(
        "RequestNotFound", f"spec.requestName: there is no ExportRequest {KEY.name!r} in this namespace", 6
    )
    assert reason(missing, later(10)) == ("Refuse", "RequestNotFound")


# For how long.


@pytest.mark.parametrize(
    ("asked", "allowed", "expected"),
    [
        (None, None, DEFAULT_SECONDS),
        (60, None, 60),
        (MAX_SECONDS, None, MAX_SECONDS),
        (3600, 600, 600),
        (60, 600, 60),
        (None, 600, 600),
    ],
)
def test_the_links_serve_for_the_least_of_what_is_asked_and_what_the_policy_allows(
    asked: int | None, allowed: int | None, expected: int
) -> None:
    maxima = {} if allowed is None else {"maxima": {"downloadExpirationSeconds": allowed}}
    known = catalogue(policies=(Named("careful", {"selector": {"groups": ["analysts"]}, **maxima}),))
    assert found(seen(download(expirationSeconds=asked), catalogue=known)).most == expected


# What was not found.


def missing(troubles: list[str] | None = None, status: Mapping[str, Any] = DELIVERED, **spec: Any) -> Wait | Refuse:
    known = replace(catalogue(), destinations={"bucket": destination(**spec)})
    return absent(found(seen(of=delivered(status), catalogue=known)), troubles or [])


USED_FALLBACK = {**DELIVERED, "result": {"usedFallback": True}}
UNTOLD = {**DELIVERED, "result": {}}
FOLDER = f"s3://exports/prod/team-a/{KEY.name}/{RUN}/"


def test_a_manifest_that_is_nowhere_is_told_with_its_place() -> None:
    text = f"{FOLDER} has no manifest: it was removed, or the run has delivered nothing"
    assert missing() == missing(fallback=BUCKET_FALLBACK) == Refuse("ObjectsNotFound", text)
    assert missing(fallback=DATABASE_FALLBACK) == Refuse("ObjectsNotFound", text)


def test_a_bucket_that_could_not_be_asked_is_asked_again() -> None:
    answer = missing(["bucket 'exports': S3 answers InvalidAccessKeyId"], USED_FALLBACK, fallback=DATABASE_FALLBACK)
    assert answer == Wait("DestinationUnavailable", "bucket 'exports': S3 answers InvalidAccessKeyId", 60)


@pytest.mark.parametrize("told", [USED_FALLBACK, UNTOLD], ids=["it says so", "nobody says"])
def test_rows_in_a_fallback_database_are_waited_for_and_the_way_to_them_is_told(told: dict[str, Any]) -> None:
    answer = missing(status=told, fallback=DATABASE_FALLBACK)
    assert isinstance(answer, Wait)
    assert (answer.reason, answer.seconds) == ("InFallbackDatabase", 300)
    uri = f"postgresql://spare.svc:5433/artifacts/held.export_artifacts/{RUN}"
    assert f"`export-runner fetch {uri} --to FILE`" in answer.message


def test_a_destination_without_a_secret_has_no_key_to_sign_with() -> None:
    answer = missing(credentialsSecret=None)
    assert isinstance(answer, Refuse)
    assert answer.reason == "NoKeyToSign"
    assert FOLDER in answer.message


@pytest.mark.parametrize("asked", [NOW - 3 * PATIENCE, NOW], ids=["it waited for the run", "the run was over"])
def test_trouble_is_waited_out_for_a_day_since_there_was_something_to_link(asked: datetime) -> None:
    trouble = Wait("DestinationUnavailable", "it is away", 60)
    early = download(created=asked)
    over = delivered({**DELIVERED, "completionTime": times.render(min(NOW, asked + 3 * PATIENCE))})
    search = found(seen(early, over))
    assert bounded(early, search, trouble, NOW + PATIENCE) == trouble
    assert bounded(early, search, trouble, NOW + PATIENCE + timedelta(seconds=1)) == Refuse(
        "DestinationUnavailable", "it is away"
    )


# What it says, and its end.


def condition(kind: str, value: bool, why: str, message: str, at: datetime = RECENTLY) -> dict[str, Any]:
    return {
        "type": kind,
        "status": str(value),
        "reason": why,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": times.render(at),
    }


LINKS = Links(RUN, 1, "mine-x7k2p", later(960))
MADE = f"links to the object and the manifest are in Secret mine-x7k2p until {times.render(later(960))}"
READY: Mapping[str, Any] = {
    "observedGeneration": 1,
    "phase": "Ready",
    "reason": "LinksMade",
    "message": MADE,
    "run": RUN,
    "objects": 1,
    "secretRef": {"name": "mine-x7k2p"},
    "expirationTime": times.render(later(960)),
    "conditions": [condition("Ready", True, "LinksMade", MADE)],
}
FAILED: Mapping[str, Any] = {
    "observedGeneration": 1,
    "phase": "Failed",
    "reason": "NotAllowed",
    "message": "no",
    "conditions": [condition("Ready", False, "NotAllowed", "no"), condition("Stalled", True, "NotAllowed", "no")],
}


def test_a_status_tells_the_secret_and_its_end_and_no_link() -> None:
    assert status(download(), LINKS, RECENTLY) == READY


def test_a_status_tells_of_several_objects_and_what_else_is_to_be_known() -> None:
    told = status(download(), replace(LINKS, objects=12, note="the policy allows 600 s"), RECENTLY)
    assert told["message"] == MADE.replace("the object", "12 objects") + "; the policy allows 600 s"


def test_a_status_tells_what_is_waited_for_and_what_is_refused() -> None:
    waiting = status(download(), Wait("RunNotFinished", "it is Running"), NOW)
    assert waiting == {
        "observedGeneration": 1,
        "phase": "Pending",
        "reason": "RunNotFinished",
        "message": "it is Running",
        "conditions": [condition("Ready", False, "RunNotFinished", "it is Running", NOW)],
    }
    assert status(download(), Refuse("NotAllowed", "no"), RECENTLY) == FAILED
    turned = status(download(waiting), LINKS, RECENTLY)
    assert turned == READY


@pytest.mark.parametrize(
    ("told", "end"), [(READY, later(960)), (FAILED, RECENTLY + PATIENCE)], ids=["its links end", "it failed a day ago"]
)
def test_when_its_time_is_over_it_goes_and_its_secret_with_it(told: dict[str, Any], end: datetime) -> None:
    over = seen(download(told))
    assert decide(over, end - timedelta(seconds=3)) == Rest(3)
    assert decide(over, end) == decide(over, end + PATIENCE) == Remove()


def managed(told: Mapping[str, Any]) -> Download:
    return replace(download(told), annotations={"argocd.argoproj.io/tracking-id": "x"})


def test_one_that_a_tool_would_make_again_stays_and_makes_no_links_again() -> None:
    kept = seen(managed(READY))
    assert decide(kept, later(959)) == Rest(1)
    assert decide(kept, later(960)) == Expire()
    expired = status(kept.download, Expire(), later(960))
    told = expired["message"]
    assert (expired["phase"], expired["conditions"]) == (
        "Expired",
        [condition("Expired", True, "Expired", told, later(960))],
    )
    assert decide(seen(managed(expired)), later(10_000)) == Rest()
    assert decide(seen(managed(FAILED)), RECENTLY + PATIENCE) == Rest()


def test_the_platform_teams_own_markers_count_too() -> None:
    ours = replace(download(READY), labels={"fleet.example/owner": "x"})
    assert decide(seen(ours), later(960)) == Remove()
    assert decide(seen(ours, markers=("fleet.example/owner",)), later(960)) == Expire()


def test_what_was_answered_is_not_decided_anew() -> None:
    gone = Seen(download(READY), None, catalogue(), Enforcement())
    assert decide(gone, later(900)) == Rest(60)
