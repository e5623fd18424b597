"""Statuses of policies are written when they have changed, and not too often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from export_operator.adapters import policies
from export_operator.adapters.kube import ApiError
from export_operator.adapters.policies import PolicyReporter
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry, Page
from export_operator.domain.policy import Defaults
from export_operator.store import Store

from .builders import NOW

pytestmark = pytest.mark.unit

ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "reason": "Valid",
    "message": "in force",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-24T12:00:00Z",
}
NOTHING = {"running": 0, "queued": 0, "requests": 0, "rows": 0, "bytes": 0}


class Place:
    """A store, a ledger and an API server that keeps resourceVersions and remembers who was written."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.delivery: tuple[bool, str] | None = None
        self.written: list[str] = []
        self.refuse: ApiError | None = None
        self.pages: dict[Subject, Page] = {}
        self.version = 1
        self.store = Store(lambda _: None)
        self.reporter = PolicyReporter(
            cluster=cast("Any", self),
            store=self.store,
            ledger=cast("Any", self),
            defaults=Defaults(),
            clock=lambda: NOW,
            timer=lambda: self.seconds,
            delivery=lambda _: self.delivery,
        )

    def subjects(self) -> list[Subject]:
        """The ledger's."""
        return list(self.pages)

    def page(self, subject: Subject) -> Page:
        """The ledger's."""
        return self.pages[subject]

    async def write_status(self, path: str, document: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if self.refuse is not None:
            raise self.refuse
        self.written.append(name)
        self.version += 1
        metadata = {**document["metadata"], "resourceVersion": str(self.version)}
        return {**document, "metadata": metadata, "status": dict(status)}

    def apply(self, name: str, generation: int = 1, **spec: Any) -> None:
        self.version += 1
        metadata = {"name": name, "uid": name, "generation": generation, "resourceVersion": str(self.version)}
        known = self.store.documents["exportpolicies"].get(name) or {}
        status = known.get("status") or {"observedGeneration": -1}
        self.store.put_named("exportpolicies", {"metadata": metadata, "spec": spec, "status": status})

    def use(self, policy: str, runs: int) -> None:
        """Alice has reserved so many runs under the policy."""
        page = Page(
            tuple(
                Entry(run=f"{number}", request=Key("team-a", "x"), uid="u", time=NOW, user="alice", policy=policy)
                for number in range(runs)
            )
        )
        self.pages[Subject("User", "alice")] = page

    def status(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.store.documents["exportpolicies"][name]["status"]
        return found

    async def look(self, seconds: float = 0.0) -> list[str]:
        """Which were written, when so much time had gone by."""
        self.seconds += seconds
        self.written = []
        await self.reporter.once()
        return self.written


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_new_policy_is_judged_at_once_and_then_left_alone(place: Place) -> None:
    place.apply("mine")
    assert await place.look() == ["mine"]
    assert place.status("mine") == {"observedGeneration": 1, "conditions": [ACCEPTED], "usage": NOTHING}
    assert await place.look(3600) == []


async def test_a_policy_with_channels_says_whether_they_deliver(place: Place) -> None:
    place.apply("mine")
    place.delivery = (True, "no channel is in trouble")
    assert await place.look() == ["mine"]
    place.delivery = (False, "notifications wait: ops: HTTP 503")
    assert await place.look() == ["mine"]
    (_, told) = place.status("mine")["conditions"]
    assert {name: told[name] for name in ("type", "status", "reason", "message")} == {
        "type": "NotificationsDelivered",
        "status": "False",
        "reason": "DeliveryFailing",
        "message": "notifications wait: ops: HTTP 503",
    }
    assert await place.look() == []
    place.delivery = None
    assert await place.look() == ["mine"]
    assert place.status("mine")["conditions"] == [ACCEPTED]


async def test_use_is_written_when_it_has_changed_and_at_most_every_fifteen_seconds(place: Place) -> None:
    place.apply("mine")
    await place.look()
    place.use("mine", 3)
    assert await place.look(14.9) == []
    assert await place.look(0.1) == ["mine"]
    assert place.status("mine")["usage"]["requests"] == 3
    assert await place.look(15) == []


async def test_a_policy_that_stops_to_be_sound_says_so_at_once(place: Place) -> None:
    place.apply("mine")
    await place.look()
    place.apply("mine", 2, allowed={"sources": ["dwh"]})
    assert await place.look(1) == ["mine"]
    (condition,) = place.status("mine")["conditions"]
    assert (condition["status"], condition["reason"], condition["observedGeneration"]) == ("False", "NothingAllowed", 2)


async def test_a_source_that_appears_makes_the_policy_sound(place: Place) -> None:
    place.apply("mine", allowed={"sources": ["dwh"]})
    await place.look()
    metadata = {"name": "dwh", "uid": "dwh", "generation": 1, "resourceVersion": "1"}
    place.store.put_named("exportsources", {"metadata": metadata, "spec": {"datasets": []}})
    assert await place.look(1) == ["mine"]
    assert place.status("mine")["conditions"][0]["reason"] == "Valid"


async def test_many_policies_take_turns_and_those_with_news_go_first(place: Place) -> None:
    names = [f"p{number}" for number in range(2 * policies.MAX_WRITES)]
    for name in names:
        place.apply(name, selector={"users": [name]})
    assert await place.look() == names[: policies.MAX_WRITES]
    place.apply("new", selector={"users": ["new"]})
    assert await place.look(15) == ["new", *names[policies.MAX_WRITES :]][: policies.MAX_WRITES]
    assert await place.look(1) == [names[-1]]
    assert await place.look(1) == []


async def test_a_write_that_is_lost_is_tried_again(place: Place) -> None:
    place.apply("mine")
    place.refuse = ApiError(409, "Conflict", "somebody was faster")
    assert await place.look() == []
    place.refuse = None
    assert await place.look(1) == ["mine"]


async def test_a_policy_that_has_gone_is_forgotten(place: Place) -> None:
    place.apply("mine")
    await place.look()
    place.store.drop_named("exportpolicies", "mine")
    assert await place.look(60) == []
