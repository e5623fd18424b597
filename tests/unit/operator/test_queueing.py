"""Who waits in one process, with the real ledger in it: slots in turn, windows in line, and what is told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from export_operator import dispatch
from export_operator.adapters import deferred, ledger
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.ledger import Ledger
from export_operator.domain.actions import Reserve
from export_operator.domain.forecast import Forecast
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import State
from export_operator.domain.queue import Waiting
from export_operator.domain.quota import Admission, Demand, Settlement, WindowLimit, WindowState
from export_operator.domain.slots import SlotLimits
from export_operator.domain.tombstones import Tombstone, Tombstones
from export_operator.domain.windows import Sliding
from export_operator.forecasts import A_TICK, EACH
from export_operator.queueing import Queueing

from .builders import NOW, later, plan, request
from .hand import Hand
from .test_queue import many, waiting
from .world import Ledgers, World

pytestmark = pytest.mark.unit

TWO_AT_ONCE, FIVE_AT_ONCE = SlotLimits(total=2), SlotLimits(total=5)
ALICE, TEAM = Subject("User", "alice"), Subject("Namespace", "team-a")


@dataclass
class Process:
    """One operator's queueing, and what it woke. `look` is its watch of the ledger."""

    world: World
    hand: Hand = field(default_factory=Hand)
    gates: dict[Subject, int] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.called = asyncio.Event()
        self.ledger = Ledger(
            cast("Any", self.kube()),
            "export-runs",
            lambda: self.queueing.slots.slots_changed(),  # noqa: PLW0108 - it does not exist yet
            lambda subject: self.queueing.window_freed(subject),  # noqa: PLW0108
            buried=self.wake,
        )
        self.depths: list[int] = []
        self.queueing = Queueing(self.ledger, self.wake, lambda: self.world.now, self.gates.get, self.depths.append)
        self.queueing.open()

    def kube(self) -> Ledgers:
        return Ledgers(self.world, self.hand)

    def wake(self, key: Key) -> None:
        self.woken.append(key.name)
        self.called.set()

    def awoken(self) -> list[str]:
        """Whom it woke since it was last asked."""
        found, self.woken = self.woken, []
        return found

    def look(self) -> None:
        for document in self.world.usages.values():
            self.ledger.informer.put(document)

    def holders(self) -> list[str]:
        """The runs that hold a slot, as the API server has it."""
        return [entry.run for entry in self.world.slots]

    async def take(self, *items: Waiting) -> list[str | None]:
        return [await self.queueing.take(item) for item in items]

    async def end(self, run: str) -> list[str]:
        """The run ends; who is woken by that."""
        self.awoken()
        self.ledger.free_slot(run)
        await self.queueing.slots.dispatch()
        return self.awoken()


async def until(condition: Callable[[], bool]) -> None:
    """For less long than what need not be written soon is put off."""
    async with asyncio.timeout(ledger.FLUSH_SECONDS / 2):
        while not condition():  # noqa: ASYNC110  # a world says nothing of itself
            await asyncio.sleep(0.01)


@pytest.fixture
def process() -> Process:
    return Process(World())


# Slots.


async def test_a_slot_is_given_and_kept_at_no_cost(process: Process) -> None:
    (item,) = many("alice", 1)
    assert await process.take(item) == [""]
    calls = process.hand.calls
    assert (await process.take(item), process.hand.calls, process.awoken()) == ([""], calls, [])


async def test_a_full_level_is_named_and_costs_no_call(process: Process) -> None:
    await process.take(waiting("live"))
    calls = process.hand.calls
    assert (await process.take(waiting("next")), process.hand.calls) == (["ClusterConcurrency"], calls)


async def test_a_slot_that_ends_goes_to_the_next_in_turn_in_the_same_write_and_nobody_else_is_woken(
    process: Process,
) -> None:
    await process.take(*many("alice", 4), waiting("first", "bob", since=99))
    calls = process.hand.calls
    assert (await process.end("alice-0000"), process.hand.calls - calls, process.holders()) == (["first"], 1, ["first"])
    assert [await process.end(run) for run in ("first", "alice-0001", "alice-0002", "alice-0003")] == [
        ["alice-0001"],
        ["alice-0002"],
        ["alice-0003"],
        [],
    ]


async def test_a_slot_that_nobody_waits_for_is_free_at_no_cost_and_the_next_write_says_so(process: Process) -> None:
    await process.take(*many("alice", 1))
    calls = process.hand.calls
    assert (await process.end("alice-0000"), process.hand.calls - calls) == ([], 0)
    assert (process.ledger.slots(), process.holders()) == ({}, ["alice-0000"])
    assert (await process.take(*many("bob", 1)), process.hand.calls - calls) == ([""], 1)
    assert process.holders() == ["bob-0000"]


async def test_a_slot_is_written_as_free_when_no_other_write_comes(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SLOT_SECONDS", 0.01)
    await process.take(*many("alice", 1))
    writing = asyncio.create_task(process.ledger.run(lambda: NOW))
    process.ledger.free_slot("alice-0000")
    await until(lambda: not process.holders())
    writing.cancel()


async def test_a_slot_that_could_not_be_written_as_free_is_so_the_next_time(process: Process) -> None:
    await process.take(*many("alice", 1))
    await process.end("alice-0000")
    process.hand.trouble, process.hand.when = "refused", process.hand.calls
    await process.ledger.deferred.flush()
    assert (process.ledger.slots(), process.holders()) == ({}, ["alice-0000"])
    await process.ledger.deferred.flush()
    assert process.holders() == []


async def test_at_the_end_pages_are_written_several_at_once() -> None:
    process = SlowProcess(World())
    process.slow.go.set()
    people = [Subject("User", f"user-{number}") for number in range(2 * deferred.AT_ONCE)]
    for person in people:
        await reserve(process, waiting(person.name, person.name), limits=(daily(person, 2),))
        process.ledger.settle(Settlement(person.name, rows=1))
    process.slow.go.clear()
    process.slow.most = 0
    flushed = asyncio.create_task(process.ledger.deferred.flush())
    await until(lambda: process.slow.waiting == deferred.AT_ONCE)
    process.slow.go.set()
    await flushed
    assert process.slow.most == deferred.AT_ONCE
    assert [process.ledger.unsettled(person.name) for person in people] == [{}] * len(people)


async def test_a_run_that_wants_its_slot_again_before_it_was_written_as_free_holds_it(process: Process) -> None:
    """It was suspended for a moment."""
    (item,) = many("alice", 1)
    await process.take(item)
    process.ledger.free_slot("alice-0000")
    process.world.wait(9)
    assert await process.take(item) == [""]
    await process.ledger.deferred.flush()
    assert [(entry.run, entry.time) for entry in process.world.slots] == [("alice-0000", later(9))]
    assert list(process.ledger.slots()) == ["alice-0000"]


async def test_a_run_that_wants_its_slot_again_waits_when_another_has_it(process: Process) -> None:
    (item,) = many("alice", 1)
    await process.take(item)
    process.ledger.free_slot("alice-0000")
    assert await process.take(*many("bob", 1), item) == ["", "ClusterConcurrency"]
    assert process.holders() == ["bob-0000"]


class Prompt(Ledgers):
    """The watch tells of each write before its answer comes."""

    process: Process

    async def replace(self, path: str, body: Any) -> Any:
        written = await super().replace(path, body)
        self.process.ledger.informer.put(written)
        return written


@dataclass
class PromptProcess(Process):
    def kube(self) -> Ledgers:
        prompt = Prompt(self.world, self.hand)
        prompt.process = self
        return prompt


async def test_a_run_holds_its_slot_again_though_the_watch_told_of_it_first() -> None:
    process = PromptProcess(World())
    (item,) = many("alice", 1)
    await process.take(item)
    process.ledger.free_slot("alice-0000")
    process.world.wait(9)
    assert await process.take(item) == [""]
    assert list(process.ledger.slots()) == process.holders() == ["alice-0000"]


async def test_who_has_withdrawn_gets_nothing(process: Process) -> None:
    items = many("alice", 3)
    await process.take(*items)
    process.queueing.withdraw(items[1].key)
    assert await process.end("alice-0000") == ["alice-0002"]


async def test_a_slot_remembers_when_it_was_given(process: Process) -> None:
    await process.take(*many("alice", 2))
    process.world.wait(90)
    await process.end("alice-0000")
    assert [entry.time for entry in process.world.slots] == [later(90)]


async def test_a_write_that_fails_leaves_everybody_where_they_were(process: Process) -> None:
    await process.take(*many("alice", 2), *many("bob", 1))
    process.hand.trouble, process.hand.when = "refused", process.hand.calls
    with pytest.raises(LedgerError):
        await process.end("alice-0000")
    assert (process.holders(), process.awoken()) == (["alice-0000"], [])
    assert [await process.end("alice-0000"), await process.end("bob-0000")] == [["bob-0000"], ["alice-0001"]]


async def test_a_gate_that_opens_lets_those_through_whom_it_stopped(process: Process) -> None:
    gone = Subject("Source", "gone")
    process.gates[gone] = 0
    items = many("alice", 3, source="gone", limits=FIVE_AT_ONCE)
    assert await process.take(*items) == ["SourceUnavailable"] * 3
    process.gates[gone] = 1
    process.queueing.slots.gate_changed(gone)
    await process.queueing.slots.dispatch()
    assert (process.awoken(), await process.take(items[1])) == (["alice-0000"], ["SourceRecovering"])
    del process.gates[gone]
    process.queueing.slots.gate_changed(gone)
    await process.queueing.slots.dispatch()
    assert process.awoken() == ["alice-0001", "alice-0002"]


async def test_a_gate_that_opens_with_time_is_noticed(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GATE_SECONDS", 0.01)
    process.gates[Subject("Source", "gone")] = 0
    await process.take(waiting("a", source="gone"))
    process.gates.clear()  # and nobody says so
    served = asyncio.create_task(process.queueing.slots.run())
    await process.called.wait()
    served.cancel()
    assert process.holders() == ["a"]


async def test_before_it_is_open_it_takes_in_everybody_and_then_serves_them_in_turn(process: Process) -> None:
    closed = Queueing(process.ledger, process.wake, lambda: NOW)
    young, old = waiting("young", since=60), waiting("old", "bob", since=10)
    assert ([await closed.take(item) for item in (young, old)], process.holders()) == ([None, None], [])
    closed.open()
    assert process.awoken() == ["old", "young"]
    await closed.slots.dispatch()
    assert (process.holders(), process.awoken()) == (["old"], ["old"])


async def test_while_it_cannot_open_it_says_why(process: Process) -> None:
    closed = Queueing(process.ledger, process.wake, lambda: NOW)
    closed.close(LedgerError("ExportUsage slots is damaged"))
    with pytest.raises(LedgerError, match="is damaged"):
        await closed.take(waiting("a"))
    closed.open()
    assert await closed.take(waiting("a")) == ""


class Slow(Ledgers):
    """Writes wait until they are let go."""

    def __init__(self, world: World, hand: Hand) -> None:
        super().__init__(world, hand)
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.waiting = self.most = 0

    async def create(self, path: str, body: Any) -> Any:
        await self._wait()
        return await super().create(path, body)

    async def replace(self, path: str, body: Any) -> Any:
        await self._wait()
        return await super().replace(path, body)

    async def _wait(self) -> None:
        self.begun.set()
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.go.wait()
        self.waiting -= 1


@dataclass
class SlowProcess(Process):
    def kube(self) -> Ledgers:
        self.slow = Slow(self.world, self.hand)
        return self.slow


async def test_who_withdraws_while_a_write_fails_does_not_come_back() -> None:
    process = SlowProcess(World(), Hand("refused", 0))
    (item,) = many("alice", 1)
    asked = asyncio.create_task(process.queueing.take(item))
    await process.slow.begun.wait()
    process.queueing.withdraw(item.key)
    process.slow.go.set()
    with pytest.raises(LedgerError):
        await asked
    assert (len(process.queueing.slots.queue), process.holders()) == (0, [])


async def test_a_slot_that_is_freed_while_a_write_is_under_way_goes_to_the_next_with_the_next_one() -> None:
    process = SlowProcess(World())
    process.slow.go.set()
    await process.take(*many("alice", 2, limits=TWO_AT_ONCE), *many("bob", 2, limits=TWO_AT_ONCE))
    process.slow.go.clear()
    process.slow.begun.clear()
    process.ledger.free_slot("alice-0000")
    served = asyncio.create_task(process.queueing.slots.dispatch())
    await process.slow.begun.wait()
    process.ledger.free_slot("alice-0001")
    process.slow.go.set()
    await served
    assert (process.holders(), sorted(process.ledger.slots())) == (["bob-0000", "bob-0001"],) * 2


async def test_where_many_run_slots_that_become_free_in_the_same_moment_go_to_the_next_in_one_write(
    process: Process,
) -> None:
    many_at_once = SlotLimits(total=40)
    await process.take(*many("alice", 40, limits=many_at_once), *many("bob", 3, limits=many_at_once))
    calls = process.hand.calls
    serving = asyncio.create_task(process.queueing.slots.run())
    for run in ("alice-0000", "alice-0001"):
        process.ledger.free_slot(run)
        await asyncio.sleep(0.01)  # it could be given by now
    await until(lambda: len(process.woken) == 2)
    serving.cancel()
    assert (process.awoken(), process.hand.calls - calls) == (["bob-0000", "bob-0001"], 1)


async def test_a_single_slot_that_becomes_free_where_many_run_goes_to_the_next_after_a_moment(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "GATHER_SECONDS", 0.05)
    many_at_once = SlotLimits(total=40)
    await process.take(*many("alice", 40, limits=many_at_once), *many("bob", 1, limits=many_at_once))
    serving = asyncio.create_task(process.queueing.slots.run())
    process.ledger.free_slot("alice-0000")
    await until(lambda: bool(process.woken))
    serving.cancel()
    assert process.awoken() == ["bob-0000"]


async def test_those_who_come_while_a_write_is_under_way_share_the_next_one() -> None:
    process = SlowProcess(World())
    items = many("alice", 9, limits=SlotLimits(total=9))
    asked = [asyncio.create_task(process.queueing.take(items[0]))]
    await process.slow.begun.wait()
    asked += [asyncio.create_task(process.queueing.take(item)) for item in items[1:]]
    await asyncio.sleep(0)
    process.slow.go.set()
    assert (await asyncio.gather(*asked), process.hand.calls) == ([""] * 9, 2)


async def test_of_two_operators_that_give_the_last_slots_at_once_the_loser_gives_none_too_many() -> None:
    world = World()
    first, second = Process(world), Process(world)
    await first.take(*many("alice", 4, limits=FIVE_AT_ONCE))
    # The second one's watch has not told it yet.
    assert await second.take(*many("bob", 3, limits=FIVE_AT_ONCE)) == ["", "ClusterConcurrency", "ClusterConcurrency"]
    assert first.holders() == [*(f"alice-{number:04}" for number in range(4)), "bob-0000"]
    assert await second.end("bob-0000") == ["bob-0001"]


async def test_a_slot_that_another_operator_frees_is_given_on() -> None:
    world = World()
    first, second = Process(world), Process(world)
    await first.take(*many("alice", 2))
    second.look()
    await second.end("alice-0000")
    await second.ledger.deferred.flush()
    first.look()
    served = asyncio.create_task(first.queueing.slots.run())
    await first.called.wait()
    served.cancel()
    assert (first.awoken(), first.holders()) == (["alice-0001"], ["alice-0001"])


# Windows.

PLAN = plan()


def asking(item: Waiting, *limits: WindowLimit) -> Reserve:
    return Reserve(PLAN, limits or (DAILY,), item, Demand())


def daily(subject: Subject, requests: int) -> WindowLimit:
    return WindowLimit(subject, subject.kind, Sliding(timedelta(days=1)), "default", requests=requests)


DAILY = daily(ALICE, 2)


async def reserve(process: Process, *items: Waiting, limits: tuple[WindowLimit, ...] = ()) -> list[bool]:
    now = process.world.now
    asked = [asking(replace(item, entry=replace(item.entry, time=now)), *limits) for item in items]
    return [answer.granted for each in asked if (answer := await process.queueing.reserve(each)) is not None]


async def test_of_those_who_wait_for_a_window_the_first_is_called_when_it_has_room(process: Process) -> None:
    items = many("alice", 5)
    assert await reserve(process, *items) == [True, True, False, False, False]
    process.world.wait(86_400)
    process.queueing.windows.look()
    assert process.awoken() == ["alice-0002", "alice-0003"]  # as many as there are places
    assert await reserve(process, items[4], items[3], items[2], items[4]) == [False, True, True, False]


async def test_a_newcomer_takes_no_place_that_somebody_waits_for(process: Process) -> None:
    first, second, third, fourth, *_ = many("alice", 9)
    await reserve(process, first, second, third)
    process.world.wait(86_400)  # there are two places now, and the one who waits has not been called yet
    assert await reserve(process, fourth, third, fourth) == [False, True, True]


async def test_one_who_stands_behind_others_is_told_how_every_window_stands(process: Process) -> None:
    team = daily(TEAM, 9)
    await reserve(process, *many("alice", 3), limits=(team, DAILY))
    answer = await process.queueing.reserve(asking(many("alice", 4)[3], team, DAILY))
    assert answer == Admission(
        False,
        (
            WindowState(team, "requests", 3, 9),
            WindowState(DAILY, "requests", 2, 2, full=True, next_eligible=later(86_400)),
        ),
    )


async def test_one_who_stands_behind_others_while_places_are_free_is_told_when_the_first_may_ask(
    process: Process,
) -> None:
    await reserve(process, *many("alice", 3))
    process.world.wait(86_400)
    answer = await process.queueing.reserve(asking(many("alice", 4)[3]))
    assert answer == Admission(False, (WindowState(DAILY, "requests", 1, 2, full=True, next_eligible=later(86_400)),))


async def test_before_it_is_open_no_window_is_asked_and_then_the_oldest_asks_first(process: Process) -> None:
    first, second, *others = many("alice", 4)
    await reserve(process, first)
    closed = Queueing(process.ledger, process.wake, lambda: NOW)
    assert [await closed.reserve(asking(item)) for item in (*others, second)] == [None, None, None]
    answer = await closed.reserve(asking(first))
    assert answer is not None
    assert answer.granted  # it has its place
    closed.open()
    assert process.awoken() == ["alice-0001", "alice-0002", "alice-0003"]


async def test_a_newcomer_of_higher_priority_may_ask_before(process: Process) -> None:
    first, second, third, *_ = many("alice", 9)
    await reserve(process, first, second, third)
    process.world.wait(86_400)
    urgent = waiting("urgent", since=99, priority="High")
    assert await reserve(process, urgent) == [True]


async def test_a_place_that_is_given_back_calls_the_first_of_the_line(process: Process) -> None:
    items = many("alice", 4)
    await reserve(process, *items)
    process.awoken()
    await process.ledger.give_back("alice-0000")
    assert process.awoken() == ["alice-0002"]


ROWS = WindowLimit(ALICE, "User", Sliding(timedelta(days=1)), "default", rows=100)


async def test_what_a_run_has_not_used_is_free_at_once_and_written_with_the_next_reservation(process: Process) -> None:
    first, second = many("alice", 2)
    assert await reserve(process, first, second, limits=(ROWS,)) == [True, False]
    process.awoken()
    calls = process.hand.calls
    process.ledger.settle(Settlement("alice-0000", rows=60))
    known = process.ledger.page(ALICE)
    assert (process.awoken(), process.hand.calls) == (["alice-0001"], calls)
    assert known is not None
    assert [(each.state, each.rows) for each in known.entries] == [(State.SETTLED, 60)]
    assert await reserve(process, second, limits=(ROWS,)) == [True]
    assert process.hand.calls == calls + 1
    assert [(each.run, each.state, each.rows) for each in process.world.windows[ALICE]] == [
        ("alice-0000", State.SETTLED, 60),
        ("alice-0001", State.RESERVED, 40),
    ]


async def test_a_settlement_that_something_waits_for_is_written_soon_though_it_was_put_off_before(
    process: Process,
) -> None:
    await reserve(process, *many("alice", 1))
    writing = asyncio.create_task(process.ledger.run(lambda: NOW))
    process.ledger.settle(Settlement("alice-0000", rows=60))
    process.ledger.settle(Settlement("alice-0000"), soon=True)
    await until(lambda: not process.ledger.unsettled("alice-0000"))
    writing.cancel()
    assert [(each.state, each.rows) for each in process.world.windows[ALICE]] == [(State.SETTLED, 60)]


async def test_the_first_of_a_line_that_goes_away_leaves_its_turn_to_the_next(process: Process) -> None:
    items = many("alice", 4)
    await reserve(process, *items)
    process.awoken()
    process.queueing.withdraw(items[2].key)
    assert process.awoken() == ["alice-0003"]


async def test_a_line_before_one_window_stops_nobody_with_other_windows(process: Process) -> None:
    await reserve(process, *many("alice", 3))
    bob = (daily(Subject("User", "bob"), 2), daily(TEAM, 9))
    assert await reserve(process, *many("bob", 1), limits=bob) == [True]


async def test_a_run_that_holds_its_place_is_not_stopped_by_those_who_wait(process: Process) -> None:
    items = many("alice", 3)
    await reserve(process, *items)
    assert await reserve(process, replace(items[1], since=later(999))) == [True]


# Tombstones.

STONE = Tombstone(
    request=Key("team-a", "old"),
    uid="uid-old",
    user="alice",
    digest="d",
    run="r",
    run_id="",
    phase="Succeeded",
    ended=NOW,
    time=NOW,
    expired=True,
)


async def test_a_tombstone_goes_along_with_a_reservation_and_is_told_of(process: Process) -> None:
    calls = process.hand.calls
    process.ledger.bury_along(ALICE, STONE, NOW)
    await process.ledger.deferred.flush()
    assert (process.hand.calls, process.awoken()) == (calls, [])
    await reserve(process, *many("alice", 1))
    assert (process.hand.calls - calls, process.awoken()) == (1, ["old"])
    assert process.world.tombstones == {ALICE: Tombstones((STONE,))}


async def test_a_tombstone_does_not_go_along_when_its_request_has_changed(process: Process) -> None:
    process.ledger.bury_along(ALICE, STONE, NOW)
    process.ledger.forget(STONE.request)
    await reserve(process, *many("alice", 1))
    assert process.world.tombstones == {}


async def test_a_tombstone_goes_along_with_the_next_write_when_one_has_failed(process: Process) -> None:
    process.ledger.bury_along(ALICE, STONE, NOW)
    process.hand.trouble, process.hand.when = "refused", process.hand.calls
    with pytest.raises(LedgerError):
        await reserve(process, *many("alice", 1))
    assert process.awoken() == []
    await reserve(process, *many("alice", 1))
    assert (process.world.tombstones, process.awoken()) == ({ALICE: Tombstones((STONE,))}, ["old"])


# What they are told.


async def test_those_who_begin_to_wait_are_told_their_place_at_once(process: Process) -> None:
    items = many("alice", 3)
    await process.take(*items)
    assert [process.queueing.forecast(item.key) for item in items] == [None, Forecast(1), None]
    process.world.wait(1)
    await process.take(items[2])
    assert process.queueing.forecast(items[2].key) == Forecast(2)


async def test_those_in_line_are_told_their_place_there(process: Process) -> None:
    items = many("alice", 5)
    await reserve(process, *items)
    assert [process.queueing.forecast(item.key) for item in items[2:]] == [Forecast(1), Forecast(2), Forecast(3)]


async def test_a_start_is_told_when_a_run_has_ended(process: Process) -> None:
    ended = request(
        status={
            "startTime": "2026-11-24T11:00:00Z",
            "completionTime": "2026-11-24T11:10:00Z",
            "effective": {"source": "s", "dataset": ""},
        }
    )
    process.queueing.learn(ended)
    items = many("alice", 2)
    await process.take(*items)
    assert process.queueing.forecast(items[1].key) == Forecast(1, later(600))


async def test_everybody_is_told_in_time_and_nobody_at_more_than_the_rate(process: Process) -> None:
    items = many("alice", 3 * A_TICK)
    await process.take(*items)
    forecasts = process.queueing.forecasts
    for item in items:
        forecasts.forget(item.key)
    process.awoken()
    await forecasts.renew()
    told = []
    for _ in range(4):
        forecasts.tell()
        told.append(process.awoken())
    assert told == [[item.entry.run for item in items[begin : begin + A_TICK]] for begin in (1, 11, 21)] + [[]]
    assert [process.queueing.forecast(item.key) for item in items[1:]] == [
        Forecast(position) for position in range(1, len(items))
    ]


async def test_a_changed_place_is_told_after_a_while_and_an_unchanged_one_never(process: Process) -> None:
    items = [*many("alice", 3), *many("bob", 1)]
    await process.take(*items)
    forecasts = process.queueing.forecasts
    await forecasts.renew()
    forecasts.tell()
    assert process.queueing.forecast(items[2].key) == Forecast(3)
    process.queueing.withdraw(items[3].key)  # bob's, who was next
    told: list[list[str]] = []
    for seconds in (1.0, EACH.total_seconds()):
        process.awoken()
        process.world.wait(seconds)
        await forecasts.renew()
        forecasts.tell()
        told.append(process.awoken())
    assert told == [[], ["alice-0002"]]  # alice-0001 was told 1 before bob came, and is 1 again


# How many wait.


def test_a_request_is_counted_once_by_each_of_those_it_counts_against(process: Process) -> None:
    for subjects in (frozenset({ALICE, TEAM}), frozenset({ALICE, TEAM}), frozenset({ALICE})):
        process.queueing.count(Key("team-a", "a"), subjects)
    process.queueing.count(Key("team-a", "b"), frozenset({ALICE, TEAM}))
    assert process.queueing.queued == {ALICE: 2, TEAM: 1}
    process.queueing.withdraw(Key("team-a", "b"))
    assert (process.queueing.queued, process.queueing.waits(Key("team-a", "b"))) == ({ALICE: 1}, False)
    assert (process.depths[-1], max(process.depths)) == (1, 2)
