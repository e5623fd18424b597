"""The Lease on a real API server: one has it at a time, and nothing passes the fence of who has it not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from export_operator.adapters.elector import Elector, NotLeading, uptime
from export_operator.adapters.kube import WRITE_SECONDS, ApiError, Kube, path_of
from export_operator.domain import lease
from export_operator.domain.lease import DURATION_SECONDS

from .connections import Connect, Counting, until

pytestmark = pytest.mark.integration


@dataclass
class Timer:
    """Stands still until it is told otherwise."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Place:
    """Where the Lease is."""

    kube: Kube
    namespace: str

    @property
    def path(self) -> str:
        return path_of("coordination.k8s.io", "v1", "leases", lease.NAME, namespace=self.namespace)

    def elector(self, pod: str, timer: Callable[[], float], kube: Kube | None = None, process: str = "1") -> Elector:
        holder = lease.holder_name(pod, f"uid-of-{pod}", process)
        return Elector(kube or self.kube, self.namespace, holder, lambda: datetime.now(UTC), timer)

    async def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.kube.get(self.path))["spec"]
        return found


@pytest.fixture
def place(kube: Kube, namespace: str) -> Place:
    return Place(kube, namespace)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def within(work: Coroutine[Any, Any, None] | asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        await work


async def test_who_comes_first_leads_and_the_next_one_follows_when_the_lease_is_given_back(place: Place) -> None:
    timer = Timer()  # it stands still: nobody's time runs out
    first, second = place.elector("a", timer), place.elector("b", timer)
    await within(first.win())
    async with background(second.win()) as waiting:
        assert (first.leads, second.leads) == (True, False)
        await first.give_back()
        assert not first.leads
        await within(waiting)
    assert second.leads
    spec = await place.spec()
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (second.holder, 15, 1)


async def test_of_many_who_come_at_once_one_leads(place: Place) -> None:
    electors = [place.elector(f"pod-{number}", Timer()) for number in range(5)]
    tasks = [asyncio.create_task(elector.win()) for elector in electors]
    try:
        await until(lambda: any(elector.leads for elector in electors), "somebody leads")
        holder = (await place.spec())["holderIdentity"]
        assert [elector.holder for elector in electors if elector.leads] == [holder]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_lease_that_changes_no_more_is_taken_after_as_long_as_it_says(place: Place) -> None:
    gone = lease.claim(None, "gone", datetime(2000, 1, 1, tzinfo=UTC))  # its clock was wrong, and nobody minds
    collection = place.path.rpartition("/")[0]
    await place.kube.create(collection, {**gone, "spec": {**gone["spec"], "leaseDurationSeconds": 2}})
    second = place.elector("b", uptime)
    async with background(second.win()) as waiting:
        changed = uptime()
        await place.kube.patch(place.path, {"metadata": {"labels": {"changed": "yes"}}})
        await within(waiting)
    assert uptime() - changed >= 2
    assert (await place.spec())["holderIdentity"] == second.holder


async def test_a_process_that_was_killed_is_followed_at_once_by_the_next_one_in_its_pod(place: Place) -> None:
    timer = Timer()
    await within(place.elector("a", timer).win())
    again = place.elector("a", timer, process="2")
    await within(again.win())
    assert (await place.spec())["holderIdentity"] == again.holder


def passes(elector: Elector, seconds: float) -> bool:
    try:
        elector.fence(seconds)
    except NotLeading:
        return False
    return True


async def test_nothing_passes_the_fence_but_while_the_lease_is_held_for_as_long_as_it_may_take(place: Place) -> None:
    timer = Timer()
    elector = place.elector("a", timer)
    assert not passes(elector, 0.0)
    await within(elector.win())
    assert (passes(elector, DURATION_SECONDS), passes(elector, DURATION_SECONDS + 0.1)) == (True, False)
    timer.now += DURATION_SECONDS - WRITE_SECONDS
    assert (passes(elector, WRITE_SECONDS), passes(elector, WRITE_SECONDS + 0.1)) == (True, False)
    timer.now += WRITE_SECONDS
    assert (passes(elector, 0.1), elector.leads) == (False, False)


async def test_a_renewal_counts_from_before_it_was_sent(place: Place) -> None:
    timer = Timer()
    elector = place.elector("a", timer)
    await within(elector.win())
    timer.now += 10
    async with background(elector.hold()):
        await until(lambda: passes(elector, DURATION_SECONDS), "a renewal")
    assert not passes(elector, DURATION_SECONDS + 0.1)


@pytest.mark.parametrize("change", [{"spec": {"holderIdentity": "somebody"}}, None], ids=["taken", "deleted"])
async def test_who_has_lost_the_lease_ends_and_does_not_get_it_back(place: Place, change: Mapping[str, Any]) -> None:
    elector = place.elector("a", Timer())
    await within(elector.win())
    async with background(elector.hold()) as holding:
        if change:
            await place.kube.patch(place.path, change)
        else:
            await place.kube.delete(place.path)
        with pytest.raises(NotLeading):
            await within(holding)
    assert not elector.leads
    await elector.give_back()  # of what it has not, nothing is given back
    found = await place.kube.find(place.path)
    assert (found or {}).get("spec", {}).get("holderIdentity") == ("somebody" if change else None)


async def test_who_stood_still_for_too_long_ends_and_sends_nothing(connect: Connect, place: Place) -> None:
    timer = Timer()
    kube = await connect(Amending)
    elector = place.elector("a", timer, kube)
    await within(elector.win())
    timer.now += DURATION_SECONDS
    async with background(elector.hold()) as holding:
        with pytest.raises(NotLeading):
            await within(holding)
    assert kube.amended == 0


async def test_a_renewal_that_comes_late_takes_nothing_from_the_next_leader(place: Place) -> None:
    timer = Timer()
    first, second = place.elector("a", timer), place.elector("b", timer)
    await within(first.win())
    await first.give_back()
    await within(second.win())
    with pytest.raises(ApiError) as refused:
        await place.kube.amend(place.path, lease.renewal(first.holder, datetime.now(UTC)), 5)
    assert refused.value.status == 422
    assert (await place.spec())["holderIdentity"] == second.holder


async def test_a_claim_whose_answer_was_lost_is_made_again(connect: Connect, place: Place) -> None:
    elector = place.elector("a", Timer(), await connect(Deaf))
    await within(elector.win())
    assert (await place.spec())["holderIdentity"] == elector.holder


async def test_renewals_that_fail_for_a_while_end_nothing(connect: Connect, place: Place) -> None:
    timer = Timer()
    kube = await connect(Amending)
    elector = place.elector("a", timer, kube)
    await within(elector.win())
    before = (await place.spec())["renewTime"]
    kube.refuse = 3
    async with background(elector.hold()) as holding:
        await until(lambda: kube.renewed > 0, "a renewal")
        assert not holding.done()
    assert elector.leads
    assert (await place.spec())["renewTime"] > before


async def test_a_fenced_connection_reads_and_tries_and_writes_nothing(
    connect: Connect, kube: Kube, configmaps: str
) -> None:
    def shut(seconds: float) -> None:
        assert seconds == WRITE_SECONDS
        raise NotLeading("shut")

    body = {"metadata": {"name": "a"}}
    made = await kube.create(configmaps, body)
    fenced = await connect(Counting)
    fenced._fence = shut
    one = f"{configmaps}/a"
    writes = (
        fenced.create(configmaps, {"metadata": {"name": "b"}}),
        fenced.replace(one, made | {"data": {"a": "b"}}),
        fenced.patch(one, {"data": {"a": "b"}}),
        fenced.amend(one, [{"op": "add", "path": "/data", "value": {"a": "b"}}], 5),
        fenced.delete(one),
    )
    for write in writes:
        with pytest.raises(NotLeading):
            await write
    assert await fenced.get(one) == made
    assert (await fenced.dry_run("patch", one, {"data": {"a": "b"}}))["data"] == {"a": "b"}
    documents, _ = await kube.list(configmaps)
    assert [each for each in documents if each["metadata"]["name"] == "b"] == []
    assert await kube.get(one) == made


class Amending(Kube):
    """Counts renewals that were tried and that worked; the first `refuse` of them never arrive."""

    amended = 0
    renewed = 0
    refuse = 0

    async def amend(self, path: str, operations: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
        self.amended += 1
        if self.amended <= self.refuse:
            raise ApiError(0, "Unreachable", "refused by the test")
        found = await super().amend(path, operations, seconds)
        self.renewed += 1
        return found


class Deaf(Kube):
    """Does not hear the answer to the first create."""

    heard = False

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        made = await super().create(path, body)
        if not self.heard:
            self.heard = True
            raise ApiError(0, "Unreachable", "TimeoutError")
        return made
