"""Two operators that reserve windows or take slots at once, in every order in which their calls can reach the API
server: and one of them may die at any of them. No watch delivers anything meanwhile: each knows only what its own calls
were answered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import pytest

from export_operator.adapters.ledger import Ledger
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.domain.quota import Admission, Demand, Size, WindowLimit
from export_operator.domain.slots import SlotLimits, grant, levels_of
from export_operator.domain.windows import Sliding

from .builders import NOW
from .hand import Hand, finish
from .world import Ledgers, World

pytestmark = pytest.mark.unit

A = TypeVar("A")

DAY = Sliding(timedelta(days=1))
RUNS = ("a", "b")


def limit(kind: str, name: str, **limits: int) -> WindowLimit:
    return WindowLimit(Subject(kind, name), kind, DAY, "default", **limits)


class Step:
    """Lets somebody else go first."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Interrupted(Ledgers):
    """Before each call anything may happen."""

    async def find(self, path: str) -> dict[str, Any] | None:
        await Step()
        return await super().find(path)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await Step()
        return await super().create(path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await Step()
        return await super().replace(path, body)


def operator(world: World, kind: type[Ledgers] = Interrupted) -> Ledger:
    """As it has just started: it knows what is there."""
    ledger = Ledger(cast("Any", kind(world, Hand())), "export-runs", lambda: None)
    for document in world.usages.values():
        ledger.informer.put(document)
    return ledger


def entry(run: str) -> Entry:
    return Entry(run, Key("team-a", run), f"uid-{run}", NOW, user=run)


@dataclass
class Play:
    """One order of events. `choices` says which of several possible things happens at each point; beyond its end the
    first one does. `widths` is how many there were, for whoever wants to know what other orders there are."""

    choices: Sequence[int]
    deaths: int
    widths: list[int] = field(default_factory=list)

    def choose(self, number: int) -> int:
        point = len(self.widths)
        self.widths.append(number)
        return self.choices[point] if point < len(self.choices) else 0

    def run(self, work: Mapping[str, Coroutine[Any, Any, A]]) -> dict[str, A | None]:
        """What each was answered; None for who died."""
        left, answers = dict(work), cast("dict[str, A | None]", {})
        while left:
            names = sorted(left)
            events = [(name, False) for name in names] + [(name, True) for name in names if self.deaths]
            name, dies = events[self.choose(len(events))]
            if dies:
                self.deaths -= 1
                left.pop(name).close()
                answers[name] = None
                continue
            try:
                left[name].send(None)
            except StopIteration as stop:
                answers[name] = stop.value
                del left[name]
        return answers


def every(play: Callable[[Play], None], deaths: int) -> int:
    """Play every order; the number of them."""
    choices: list[int] | None = []
    played = 0
    while choices is not None:
        current = Play(choices, deaths)
        play(current)
        played += 1
        taken = [*choices, *[0] * (len(current.widths) - len(choices))]
        choices = next(
            ([*taken[:at], taken[at] + 1] for at in reversed(range(len(taken))) if taken[at] + 1 < current.widths[at]),
            None,
        )
    return played


ALICE, TEAM, CLUSTER = ("User", "alice"), ("Namespace", "team-a"), ("Cluster", "all")
SCENARIOS: dict[str, tuple[dict[str, list[WindowLimit]], Demand]] = {
    "the first window is full": (
        {run: [limit(*ALICE, requests=1), limit(*TEAM, requests=5)] for run in RUNS},
        Demand(),
    ),
    "the last window is full": (
        {run: [limit("User", run, requests=5), limit(*CLUSTER, requests=1)] for run in RUNS},
        Demand(),
    ),
    "too few rows are left": ({run: [limit(*ALICE, rows=100)] for run in RUNS}, Demand(Size(60))),
}
"""Windows in which exactly one of the runs can have its place."""


def held(world: World, windows: Mapping[str, Sequence[WindowLimit]]) -> dict[str, set[Subject]]:
    """In which windows each run has a place."""
    found: dict[str, set[Subject]] = {run: set() for run in windows}
    for subject, entries in world.windows.items():
        for each in entries:
            found[each.run].add(subject)
    return found


def exactly_one(world: World, windows: Mapping[str, Sequence[WindowLimit]], granted: Sequence[str]) -> None:
    """It has a place in each of its windows, and the other in none."""
    assert len(granted) == 1
    expected = {run: {each.subject for each in limits} if run in granted else set() for run, limits in windows.items()}
    assert held(world, windows) == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_exactly_one_of_two_operators_runs_wins_in_any_order_of_their_calls(scenario: str) -> None:
    windows, demand = SCENARIOS[scenario]

    def play(order: Play) -> None:
        world = World()
        ledgers = {run: operator(world) for run in RUNS}
        answers = order.run({run: ledgers[run].reserve(entry(run), demand, windows[run], NOW) for run in RUNS})
        exactly_one(world, windows, [run for run, answer in answers.items() if answer and answer.granted])

    assert every(play, deaths=0) > 5


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_so_it_is_when_one_of_them_dies_and_another_goes_on_with_its_run(scenario: str) -> None:
    """What goes on is a reconciler: it asks again, and gives back what a run that is refused may hold."""
    windows, demand = SCENARIOS[scenario]

    def play(order: Play) -> None:
        world = World()
        ledgers = {run: operator(world) for run in RUNS}
        answers = order.run({run: ledgers[run].reserve(entry(run), demand, windows[run], NOW) for run in RUNS})
        for run, answer in answers.items():
            if answer is None or not answer.granted:
                ledger = operator(world, Ledgers)
                answers[run] = again = finish(ledger.reserve(entry(run), demand, windows[run], NOW))
                if not again.granted:
                    finish(ledger.give_back(run))
        exactly_one(world, windows, [run for run, answer in answers.items() if answer and answer.granted])

    assert every(play, deaths=1) > 25


@pytest.mark.parametrize(("windows", "deaths"), [(0, 0), (1, 0), (2, 0), (2, 1)])
def test_of_two_operators_that_reserve_for_one_run_at_most_one_hears_that_nobody_has_begun_it(
    windows: int, deaths: int
) -> None:
    """And a third that comes later does not; nor does anybody where no window remembers it."""
    limits = [limit(*ALICE, requests=5), limit(*TEAM, requests=5)][:windows]

    def reserving(ledger: Ledger) -> Coroutine[Any, Any, Admission]:
        return ledger.reserve(entry("run"), Demand(), limits, NOW)

    def play(order: Play) -> None:
        world = World()
        answers = order.run({name: reserving(operator(world)) for name in RUNS})
        later = finish(reserving(operator(world, Ledgers)))
        first = [answer.first for answer in answers.values() if answer is not None]
        assert (sum(first) <= min(windows, 1), later.first) == (True, False)

    assert every(play, deaths) >= 2


# Slots: of the two that there are, "over" holds one, and the operator of "a" knows that it does not need it any more.

TWO_AT_ONCE = SlotLimits(total=2)


def taking(run: str) -> Callable[[tuple[Entry, ...]], tuple[tuple[Entry, ...], bool]]:
    def take(held: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], bool]:
        after = grant(held, [(entry(run), levels_of(entry(run), TWO_AT_ONCE))])
        return after, run in {each.run for each in after}

    return take


def two_operators(world: World) -> dict[str, Ledger]:
    """After "over" has ended, which stands in the memory of the one alone."""
    finish(operator(world, Ledgers).change_slots(taking("over")))
    ledgers = {run: operator(world) for run in RUNS}
    ledgers["a"].free_slot("over")
    assert (list(ledgers["a"].slots()), list(ledgers["b"].slots())) == ([], ["over"])
    return ledgers


def holders(world: World) -> list[str]:
    return sorted(each.run for each in world.slots)


def test_a_slot_that_one_of_two_operators_knows_to_be_free_is_given_once_in_any_order_of_their_calls() -> None:
    def play(order: Play) -> None:
        world = World()
        ledgers = two_operators(world)
        answers = order.run({run: ledgers[run].change_slots(taking(run)) for run in RUNS})
        assert (answers, holders(world)) == ({"a": True, "b": True}, ["a", "b"])

    assert every(play, deaths=0) > 3


def test_so_it_is_when_one_of_them_dies_and_whoever_takes_over_sees_that_it_is_free() -> None:
    def play(order: Play) -> None:
        world = World()
        ledgers = two_operators(world)
        order.run({run: ledgers[run].change_slots(taking(run)) for run in RUNS})
        assert len(world.slots) <= 2
        successor = operator(world, Ledgers)
        successor.free_slot("over")
        for run in RUNS:
            assert finish(successor.change_slots(taking(run)))
        assert holders(world) == ["a", "b"]

    assert every(play, deaths=1) > 10


def test_nobody_takes_a_slot_that_another_operator_has_given_away_since() -> None:
    """Both know that the run is over, and each has two that wait."""

    async def take_two(ledger: Ledger, run: str) -> list[str]:
        return [each for each in (f"{run}1", f"{run}2") if await ledger.change_slots(taking(each))]

    def play(order: Play) -> None:
        world = World()
        ledgers = two_operators(world)
        ledgers["b"].free_slot("over")
        answers = order.run({run: take_two(ledgers[run], run) for run in RUNS})
        assert len(world.slots) == 2
        assert holders(world) == sorted(run for granted in answers.values() for run in granted or ())

    assert every(play, deaths=0) > 10
