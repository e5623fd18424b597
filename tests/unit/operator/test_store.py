"""The store never goes back in time."""

from __future__ import annotations

from typing import Any

import pytest

from export_operator.domain.model import Catalogue, Key, Named
from export_operator.store import Store

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


def test_every_event_of_a_request_wakes_it(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_request(document(1))
    given.store.drop_request(A)
    assert (given.woken, given.store.requests) == ([A, A, A], {})


def test_a_list_that_began_before_a_deletion_brings_nothing_back(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.drop_request(A)
    given.store.put_request(document(1))
    assert given.store.requests == {}


def test_a_new_source_wakes_those_who_are_not_at_their_end_oldest_first(given: Fixture) -> None:
    given.store.put_request(document(1, name="young", created="2"))
    given.store.put_request(document(2, name="old", created="1", phase="Queued"))
    given.store.put_request(document(3, name="done", created="0", phase="Succeeded"))
    given.woken.clear()
    given.store.put_named("exportsources", document(4, name="db"))
    assert given.woken == [Key("team-a", "old"), Key("team-a", "young")]


def test_a_status_of_a_source_wakes_nobody(given: Fixture) -> None:
    given.store.put_request(document(1))
    given.store.put_named("exportsources", document(4, name="db"))
    given.woken.clear()
    probed = document(5, name="db", phase="x")
    given.store.put_named("exportsources", probed | {"spec": document(4)["spec"]})
    assert given.woken == []


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
