"""What a list tells of what was missed, and of what cannot be: a namespace that may not be read any more, an etcd that
was restored."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import kopf
import pytest

from export_operator.adapters.cluster import Cluster
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, RewoundError, path_of
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.handlers import LAST_PAUSE, PAUSES, _configure
from export_operator.resync import Resync
from export_operator.store import BESIDE, CATALOGUE, REQUESTS, Store, key_of
from export_operator.takeover import take_over

from .builders import NOW

pytestmark = pytest.mark.unit

OPEN, CLOSED, GONE = "open", "closed", "gone"
FORBIDDEN = ApiError(403, "Forbidden", "exportrequests is forbidden")


def document(namespace: str, name: str = "a", version: int = 5) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}", "resourceVersion": str(version)}
    return {"kind": REQUESTS, "metadata": metadata, "spec": {}, "status": {}}


@dataclass
class Server:
    """An API server to an operator that may read where there is a Role for it."""

    there: list[dict[str, Any]] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    async def pages(self, path: str, **_: object) -> AsyncIterator[dict[str, Any]]:
        namespace = self._namespace(path)
        kind = path.rpartition("/")[2]
        found = [each for each in self.there if namespace in ("", each["metadata"]["namespace"])]
        yield {"metadata": {"resourceVersion": "9"}, "items": [each for each in found if each["kind"] == kind]}

    async def list(self, path: str) -> tuple[list[dict[str, Any]], str]:
        return [each for each in self.there if path.endswith(f"/{each['kind']}")], "1"

    async def find(self, path: str) -> dict[str, Any] | None:
        if path.startswith("/api/v1/namespaces/"):
            return None if path.rpartition("/")[2] in self.gone else {"metadata": {}}
        key = Key(self._namespace(path), path.rpartition("/")[2])
        return next((each for each in self.there if key_of(each) == key), None)

    def _namespace(self, path: str) -> str:
        """Of what is asked for; "" for all."""
        namespace = path.partition("/namespaces/")[2].partition("/")[0]
        if namespace in self.closed | self.gone:
            raise FORBIDDEN
        return namespace


def resync(server: Server, store: Store, *namespaces: str) -> Resync:
    kube = cast("Any", server)
    return Resync(
        kube, Cluster(kube, "export-runs"), store, cast("Any", None), cast("Any", None), namespaces=namespaces
    )


async def test_what_may_not_be_read_any_more_stays_as_it_was_known_and_all_else_is_listed() -> None:
    server, store = Server([document(OPEN), document(CLOSED), document(GONE)]), Store(lambda _: None)
    served = resync(server, store, CLOSED, GONE, OPEN)
    await served.once()
    server.closed, server.gone = {CLOSED}, {GONE}
    server.there = [document(OPEN, "b")]
    await served.once()
    assert set(store.requests) == {Key(OPEN, "b"), Key(CLOSED, "a")}


async def test_where_all_namespaces_are_served_a_refusal_is_of_all() -> None:
    server = Server(closed={""})
    with pytest.raises(ApiError):
        await resync(server, Store(lambda _: None)).once()


async def test_a_request_is_gone_with_its_namespace_and_nobody_knows_where_nobody_may_look() -> None:
    cluster = Cluster(cast("Any", Server([document(OPEN)], {CLOSED}, {GONE})), "export-runs")
    assert (await cluster.request(Key(OPEN, "a")), await cluster.request(Key(GONE, "a"))) == (document(OPEN), None)
    with pytest.raises(ApiError):
        await cluster.request(Key(CLOSED, "a"))


@dataclass
class Slots:
    """The ledger and the Jobs of an operator that begins to lead."""

    held: dict[str, Entry]

    def slots(self) -> dict[str, Entry]:
        return self.held

    async def change_slots(self, change: Any) -> None:
        entries, _ = change(tuple(self.held.values()))
        self.held = {entry.run: entry for entry in entries}

    def all(self) -> Iterable[object]:
        return []

    async def job(self, _: str, *, confirm: bool) -> None:
        assert confirm


async def test_slots_of_a_namespace_that_is_gone_are_freed_and_those_of_one_that_may_not_be_read_stay() -> None:
    cluster = Cluster(cast("Any", Server([], {CLOSED}, {GONE})), "export-runs")
    entries = [Entry(run=name, request=Key(name, "a"), uid=name, time=NOW) for name in (CLOSED, GONE)]
    slots = Slots({entry.run: entry for entry in entries})
    fake = cast("Any", slots)
    await take_over(Store(lambda _: None), fake, fake, cluster)
    assert set(slots.held) == {CLOSED}


KINDS = (REQUESTS, *BESIDE, *CATALOGUE)


def named(kind: str, version: int) -> dict[str, Any]:
    return {**document(OPEN, version=version), "kind": kind}


def put(store: Store, kind: str, version: int) -> None:
    if kind == REQUESTS:
        store.put_request(named(kind, version))
    elif kind in BESIDE:
        store.put_beside(kind, named(kind, version))
    else:
        store.put_named(kind, named(kind, version))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_known_to_be_newer_tells_that_etcd_was_restored(kind: str) -> None:
    server, store = Server([named(kind, 5)]), Store(lambda _: None)
    put(store, kind, 5)
    await resync(server, store).once()
    put(store, kind, 6)
    with pytest.raises(RewoundError, match=f"{kind}/a is at resourceVersion 5, and was at 6 before"):
        await resync(server, store).once()


@pytest.mark.parametrize("kind", [REQUESTS, *BESIDE])
async def test_so_does_what_was_known_to_be_gone(kind: str) -> None:
    server, store = Server([named(kind, 5)]), Store(lambda _: None)
    put(store, kind, 5)
    drop = store.drop_request if kind == REQUESTS else partial(store.drop_beside, kind)
    drop(Key(OPEN, "a"))
    with pytest.raises(RewoundError):
        await resync(server, store).once()


async def test_what_is_going_and_what_was_made_anew_tell_of_nothing_of_the_kind() -> None:
    server, store = Server([]), Store(lambda _: None)
    store.put_request(document(OPEN))
    store.put_request(document(OPEN, "b"))
    again, leaving = document(OPEN, version=9), document(OPEN, "b", 8)
    again["metadata"]["uid"] = "another"
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    server.there = [again, leaving]
    for _ in range(2):
        await resync(server, store).once()
    assert store.requests == {Key(OPEN, "a"): again}


async def test_a_cache_that_has_seen_more_than_is_there_tells_so_too() -> None:
    server = Server([{**document(OPEN), "kind": "jobs"}])
    cache = Informer(cast("Any", server), path_of("batch", "v1", "jobs", namespace=OPEN), dict, lambda *_: None)
    cache.put(document(OPEN, version=6))
    with pytest.raises(RewoundError, match="jobs/a is at resourceVersion 5, and was at 6 before"):
        await cache.run()


def test_kopf_tries_again_for_as_long_as_it_takes() -> None:
    settings = kopf.OperatorSettings()
    _configure(settings)
    pauses = settings.networking.error_backoffs
    assert isinstance(pauses, Iterable)
    found = [[*itertools.islice(pauses, len(PAUSES) + 3)] for _ in range(2)]
    assert found == [[*PAUSES, LAST_PAUSE, LAST_PAUSE, LAST_PAUSE]] * 2
