"""The store never goes back in time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from export_operator.backlog import BATCH, Backlog
from export_operator.domain import gitops
from export_operator.domain.model import Catalogue, Key, Named
from export_operator.store import BESIDE, REQUESTS, Store

pytestmark = pytest.mark.unit

A = Key("team-a", "a")
KINDS = ("exportsources", "exportdestinations", "exportpolicies")


def document(version: int, *, uid: str = "u1", name: str = "a", phase: str = "", created: str = "1") -> dict[str, Any]:
    metadata = {
        "namespace": "team-a",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": created,
    }
    return {"metadata": metadata, "spec": {"version": version}, "status": {"phase": phase}}


class Fixture:
    def __init__(self) -> None:
        self.woken: list[Key] = []
        self.store = Store(self.woken.append)

    def let_out(self) -> list[Key]:
        """Who is woken when the backlog has its next turn."""
        self.woken.clear()
        self.store.backlog.let_out()
        return list(self.woken)


@pytest.fixture
def given() -> Fixture:
    return Fixture()


def test_a_newer_document_replaces_an_older_one(given: Fixture) -> None:
    given.store.put_request(document(9))
    given.store.put_request(document(10))
    assert given.store.requests == {A: document(10)}


def test_an_older_document_never_replaces_a_newer_one(given: Fixture) -> None:
    given.store.put_request(document(10))
    given.store.put_request(document(9))
    assert given.store.requests == {A: document(10)}


def test_a_request_made_anew_replaces_the_old_one_of_its_name(given: Fixture) -> None:
    given.store.put_request(document(10, uid="u1"))
    given.store.put_request(document(11, uid="u2"))
    assert given.store.requests == {A: document(11, uid="u2")}


def test_what_is_told_late_of_one_that_was_made_anew_does_not_touch_the_new_one(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_request(document(5, uid="u2"))
    given.store.put_request(document(2))
    given.store.drop_request(A, "u1")
    given.store.put_request(document(3))
    assert given.store.requests == {A: document(5, uid="u2")}


def test_every_change_of_a_request_wakes_it(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_request(document(2))
    given.store.drop_request(A)
    assert (given.woken, given.store.requests) == ([A, A, A], {})


def test_what_is_known_already_wakes_nobody(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_request(document(1))
    assert given.woken == [A]


def test_of_what_people_and_tools_note_on_it_only_what_is_read_is_kept(given: Fixture) -> None:
    noted, kept = document(1), document(1)
    tracked = {"argocd.argoproj.io/tracking-id": "app:export-operator.io/ExportRequest:team-a/a"}
    owner = {"kind": "ScheduledExport", "controller": True}
    kept["metadata"] |= {"annotations": tracked, "ownerReferences": [owner]}
    noted["metadata"] |= {
        "managedFields": [{"manager": "kubectl"}],
        "labels": {f"of-the-team/{number}": "x" * 63 for number in range(100)},
        "annotations": {**tracked, "kubectl.kubernetes.io/last-applied-configuration": "{}" * 100_000},
        "ownerReferences": [owner, *({"kind": "ConfigMap", "name": str(number)} for number in range(100))],
        "finalizers": ["example.org/audit"],
    }
    given.store.put_request(noted)
    assert given.store.requests == {A: kept}


def test_marks_of_the_platform_team_are_kept() -> None:
    store = Store(lambda _: None, marks=gitops.keys(["example.org/team=a"]))
    marked = document(1)
    marked["metadata"]["labels"] = {"example.org/team": "a"}
    store.put_request(marked)
    assert store.requests == {A: marked}


def going(version: int, **changes: Any) -> dict[str, Any]:
    """Somebody has deleted it, and a finalizer keeps it."""
    found = document(version, **changes)
    found["metadata"] |= {"deletionTimestamp": "2026-11-24T12:00:00Z", "finalizers": ["example.org/audit"]}
    return found


def test_what_somebody_has_deleted_is_gone_whatever_keeps_it(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_request(going(2))
    for late in (document(1), going(2), going(3)):
        given.store.put_request(late)
    assert (given.woken, given.store.requests) == ([A, A], {})


def test_what_was_deleted_before_it_was_seen_is_never_there(given: Fixture) -> None:
    given.store.put_request(going(2))
    given.store.put_request(document(1))
    assert given.store.requests == {}


def test_what_is_going_takes_nothing_along_that_has_its_name_by_now(given: Fixture) -> None:
    given.store.put_request(going(2))
    given.store.put_request(document(4, uid="u2"))
    given.store.put_request(going(3))
    assert given.store.requests == {A: document(4, uid="u2")}


@pytest.mark.parametrize(("phase", "rests"), [("Succeeded", True), ("Running", False), ("", False)])
def test_only_a_request_that_has_ended_is_at_rest(given: Fixture, phase: str, rests: bool) -> None:
    given.store.put_request(document(1, phase=phase))
    assert given.store.at_rest(A) is rests


def test_a_request_that_is_gone_is_not_at_rest(given: Fixture) -> None:
    assert not given.store.at_rest(A)


def test_a_list_that_began_before_a_deletion_brings_nothing_back(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.drop_request(A)
    given.store.put_request(document(1))
    assert given.store.requests == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_appears_changes_or_goes_wakes_those_who_have_no_job_yet_oldest_first(given: Fixture, kind: str) -> None:
    given.store.put_request(document(1, name="young", created="2"))
    given.store.put_request(document(2, name="old", created="1", phase="Queued"))
    given.store.put_request(document(3, name="done", created="0", phase="Succeeded"))
    given.store.put_request(document(3, name="live", created="0", phase="Running"))
    found = []
    for version in (4, 5):
        given.store.put_named(kind, document(version, name="db"))
        found.append(given.let_out())
    given.store.drop_named(kind, "db")
    found.append(given.let_out())
    assert found == [[Key("team-a", "old"), Key("team-a", "young")]] * 3


def test_a_status_of_a_source_wakes_nobody(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_named("exportsources", document(4, name="db"))
    given.let_out()
    probed = document(5, name="db", phase="x")
    given.store.put_named("exportsources", probed | {"spec": document(4)["spec"]})
    assert given.let_out() == []


def test_what_was_never_there_wakes_nobody_by_going(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.drop_named("exportpolicies", "unknown")
    assert given.let_out() == []


def test_many_who_wait_are_looked_at_again_a_few_at_a_time_each_once(given: Fixture) -> None:
    names = [f"{number:03}" for number in range(2 * BATCH + 1)]
    for number, name in enumerate(names):
        given.store.put_request(document(number, name=name, created=name))
    for version in (1, 2):
        given.store.put_named("exportpolicies", document(version, name="policy"))
    turns = [given.let_out() for _ in range(4)]
    assert [len(turn) for turn in turns] == [BATCH, BATCH, 1, 0]
    assert [key.name for turn in turns for key in turn] == names


async def test_the_backlog_empties_itself_and_waits_for_more() -> None:
    woken: asyncio.Queue[Key] = asyncio.Queue()
    backlog = Backlog(woken.put_nowait)
    work = asyncio.create_task(backlog.run())
    for name in ("one", "two"):
        backlog.add([Key("team-a", name)])
        async with asyncio.timeout(10):
            assert await woken.get() == Key("team-a", name)
    work.cancel()


def test_the_catalogue_holds_the_newest_of_each_kind(given: Fixture) -> None:
    for kind in KINDS:
        given.store.put_named(kind, document(5, name=kind))
        given.store.put_named(kind, document(4, name=kind))
    sources, destinations, policies = ({kind: Named(kind, {"version": 5})} for kind in KINDS)
    assert given.store.catalogue() == Catalogue(sources, destinations, policies)


def test_what_is_dropped_is_no_longer_offered(given: Fixture) -> None:
    given.store.put_named("exportsources", document(5, name="db"))
    given.store.drop_named("exportsources", "db")
    assert given.store.catalogue() == Catalogue()


class Beside:
    """What tells of each kind that is heard of, in order."""

    def __init__(self, *kinds: str) -> None:
        self.heard: list[tuple[str, Key]] = []
        self.store = Store(lambda _: None)
        for kind in kinds:
            self.store.listen(kind, partial(self._hear, kind))

    def _hear(self, kind: str, key: Key) -> None:
        self.heard.append((kind, key))


@pytest.mark.parametrize("kind", BESIDE)
def test_a_kind_beside_requests_is_kept_by_key_and_its_changes_told_to_its_controller_alone(kind: str) -> None:
    given = Beside(*BESIDE)
    given.store.put_beside(kind, document(5))
    given.store.put_beside(kind, document(5))
    given.store.put_beside(kind, document(4))
    assert (given.store.beside[kind], given.heard) == ({A: document(5)}, [(kind, A)])
    given.store.put_beside(kind, document(6))
    given.store.drop_beside(kind, A)
    given.store.drop_beside(kind, A)
    given.store.put_beside(kind, document(6))
    assert (given.store.beside[kind], given.heard) == ({}, [(kind, A)] * 3)


@pytest.mark.parametrize("kind", BESIDE)
def test_one_of_these_that_was_made_anew_stays_when_the_old_one_is_told_to_be_gone(kind: str) -> None:
    given = Beside(kind)
    given.store.put_beside(kind, document(5))
    given.store.put_beside(kind, document(7, uid="u2"))
    given.store.drop_beside(kind, A, "u1")
    given.store.put_beside(kind, document(6))
    assert (given.store.beside[kind], given.heard) == ({A: document(7, uid="u2")}, [(kind, A)] * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_was_made_anew_is_offered_when_the_old_one_is_told_to_be_gone(given: Fixture, kind: str) -> None:
    given.store.put_named(kind, document(5, name="db"))
    given.store.put_named(kind, document(7, name="db", uid="u2"))
    given.store.drop_named(kind, "db", "u1")
    assert given.store.documents[kind] == {"db": document(7, name="db", uid="u2")}


@pytest.mark.parametrize("kind", BESIDE)
def test_one_of_these_that_somebody_has_deleted_is_gone_whatever_keeps_it(kind: str) -> None:
    given = Beside(kind)
    given.store.put_beside(kind, document(5))
    given.store.put_beside(kind, going(6))
    given.store.put_beside(kind, going(7))
    assert (given.store.beside[kind], given.heard) == ({}, [(kind, A)] * 2)


def test_who_listens_hears_of_requests_too() -> None:
    given = Beside(REQUESTS)
    given.store.put_request(document(1))
    given.store.put_request(document(1))
    given.store.drop_request(A)
    assert given.heard == [(REQUESTS, A)] * 2


def test_what_follows_from_the_catalogue_is_forgotten_when_it_changes(given: Fixture) -> None:
    store = given.store
    store.put_named("exportsources", document(1))
    first = store.catalogue()
    assert store.catalogue() is first
    store.put_named("exportsources", document(2))
    second = store.catalogue()
    store.drop_named("exportsources", "a")
    assert len({id(each.memo) for each in (first, second, store.catalogue())}) == 3
