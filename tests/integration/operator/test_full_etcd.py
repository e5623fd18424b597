"""An etcd that has reached its quota takes no write, and its API server says so to everybody: the operator waits until
somebody has made room, says what it waits for, and goes on with everything."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from export_operator.adapters.kube import ApiError
from tests.load import judging, scenario
from tests.load.operators import Operator
from tests.load.plane import Plane, plane
from tests.load.scenario import Scenario, Stage

from .connections import until

pytestmark = pytest.mark.integration

QUOTA_BYTES = 32 * 1024 * 1024
"""Enough for what the API server and the story need, and soon full."""
FILLING = b"x" * 1024 * 1024
ROOM_BYTES = 8 * len(FILLING)
"""Left for the runs that are to be under way, who do not wait for a slow disk to be filled."""
WAVE = 5
STORY = Scenario(
    name="full",
    title="etcd is full",
    users=2 * WAVE,
    each=3,
    limit=2,
    slots=4,
    run_seconds=3.0,
    operators=2,
    backlog=False,
)
SPEECH = "database space exceeded"
SECONDS = 90.0


class Etcd:
    """The server of a plane, by its JSON gateway (etcd.io/docs: api_grpc_gateway)."""

    def __init__(self, fresh: Plane) -> None:
        self._url = f"http://{fresh.settings.loopback}:{fresh.settings.etcd_port}/v3"
        self._puts = 0

    def nearly_fill(self) -> None:
        """But for `ROOM_BYTES`."""
        while int(self._call("maintenance/status")["dbSize"]) < QUOTA_BYTES - ROOM_BYTES:
            self._put()

    def fill(self) -> None:
        """Until it raises its alarm NOSPACE."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self._put_all_of_the_quota()
        assert SPEECH in refused.value.read().decode()

    def _put_all_of_the_quota(self) -> None:
        for _ in range(QUOTA_BYTES // len(FILLING)):
            self._put()

    def _put(self) -> None:
        self._puts += 1
        self._call("kv/put", key=_text(b"filling/%d" % self._puts), value=_text(FILLING))

    def make_room(self) -> None:
        """As etcd's manual says: compact, defragment, disarm."""
        gone = self._call("kv/deleterange", key=_text(b"filling/"), range_end=_text(b"filling0"))
        self._call("kv/compaction", revision=gone["header"]["revision"], physical=True)
        self._call("maintenance/defragment")
        for alarm in self._call("maintenance/alarm", action="GET").get("alarms", ()):
            self._call("maintenance/alarm", action="DEACTIVATE", **alarm)

    def _call(self, method: str, **given: Any) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._url}/{method}", json.dumps(given).encode())  # noqa: S310 - http
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


@dataclass
class Told:
    """All that is to be seen."""

    seen: scenario.Seen = field(default_factory=scenario.Seen)
    at_work: int = 0
    """Runs under way when etcd was full."""
    refusal: ApiError | None = None
    """What a user hears who asks meanwhile."""
    ends: list[str] = field(default_factory=list)
    """Operators that ended meanwhile."""
    said: dict[str, str] = field(default_factory=dict)
    """What each operator has written in its log."""


class Story:
    """The course of events."""

    def __init__(self, told: Told, etcd: Etcd) -> None:
        self._told = told
        self._etcd = etcd

    async def __call__(self, stage: Stage) -> None:
        await asyncio.to_thread(self._etcd.nearly_fill)
        await stage.submit(0, WAVE)
        await until(lambda: stage.jobs.truth.created.total() > STORY.slots, "some runs", SECONDS)
        await asyncio.to_thread(self._etcd.fill)
        self._told.at_work = len(stage.jobs.truth.live)
        try:
            await stage.submit(WAVE, WAVE + 1)
        except* ApiError as group:
            (self._told.refusal,) = (each for each in group.exceptions if isinstance(each, ApiError))
        # The Lease cannot be renewed either: the leader ends, and a kubelet starts it anew.
        await until(lambda: not all(each.running for each in stage.operators), "the leader's end", SECONDS)
        for operator in stage.operators:
            if not operator.running:
                self._told.ends.append(operator.name)
                operator.launch()
        for operator in stage.operators:
            await until(operator.ready, f"{operator.name} to stand by", SECONDS)
            await until(lambda each=operator: waits(each), f"{operator.name} to say why it waits", SECONDS)  # type: ignore[misc]
        self._told.ends += [operator.name for operator in stage.operators if not operator.running]
        self._told.said = {operator.name: operator.log.read_text() for operator in stage.operators}
        await asyncio.to_thread(self._etcd.make_room)
        await stage.settled(WAVE)
        await stage.submit(WAVE, 2 * WAVE)


def waits(operator: Operator) -> bool:
    """Since it stands by, it has said why it does not lead."""
    said = operator.log.read_text().rpartition("standing by")[2]
    return any("the Lease is not taken: 500" in line and SPEECH in line for line in said.splitlines())


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETCD_QUOTA_BACKEND_BYTES", str(QUOTA_BYTES))
        with plane() as fresh:
            fresh.install()
            told = Told()
            told.seen = asyncio.run(scenario.play(STORY, fresh, course=Story(told, Etcd(fresh))))
            yield told


def test_what_was_under_way_and_what_waited_when_etcd_was_full_comes_to_its_end_once(told: Told) -> None:
    assert told.at_work > 0
    assert judging.faults(STORY, told.seen) == []


def test_whoever_asks_meanwhile_is_told_why_he_cannot(told: Told) -> None:
    assert told.refusal is not None
    assert (told.refusal.status, SPEECH in told.refusal.message) == (500, True)


def test_the_leader_ends_once_and_both_stand_by_and_say_what_they_wait_for(told: Told) -> None:
    assert len(told.ends) == 1
    assert all(SPEECH in said for said in told.said.values())
