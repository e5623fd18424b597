"""The fair queue against a model that looks at everybody each time, and what it owes to those who wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.domain.queue import SHARES, TURN, FairQueue, Waiting
from export_operator.domain.slots import Occupancy, SlotLimits, levels_of

from .builders import NOW

pytestmark = pytest.mark.unit

ONE_AT_ONCE = SlotLimits(total=1)


def waiting(
    name: str,
    user: str = "alice",
    *,
    limits: SlotLimits = ONE_AT_ONCE,
    since: float = 0,
    weight: int = 1,
    priority: str = "Normal",
    source: str = "s",
    namespace: str = "team-a",
) -> Waiting:
    entry = Entry(run=name, request=Key(namespace, name), uid=name, time=NOW, user=user, source=source, destination="d")
    return Waiting(
        entry, levels_of(entry, limits), Subject("User", user), NOW + timedelta(seconds=since), weight, priority
    )


def many(user: str, count: int, **fields: Any) -> list[Waiting]:
    return [waiting(f"{user}-{number:04}", user, since=number, **fields) for number in range(count)]


def queue_of(items: Iterable[Waiting]) -> FairQueue:
    queue = FairQueue()
    for item in items:
        queue.put(item)
    return queue


def turns(queue: FairQueue) -> Iterator[Waiting]:
    """Whose turn it is, one after the other: each run ends at once."""
    while (item := queue.take(Occupancy())) is not None:
        yield item


def names(items: Iterable[Waiting]) -> list[str]:
    return [item.entry.run for item in items]


def users(items: Iterable[Waiting]) -> str:
    """The first letters of those whose turn it was."""
    return "".join(item.entry.user[0] for item in items)


def test_users_take_turns() -> None:
    assert users(turns(queue_of([*many("alice", 4), *many("bob", 2), *many("carol", 1)]))) == "abcabaa"


def test_of_one_user_the_higher_priority_goes_first_then_the_older() -> None:
    queue = queue_of(
        [
            waiting("young", since=3),
            waiting("low", since=0, priority="Low"),
            waiting("old", since=1),
            waiting("high", since=9, priority="High"),
        ]
    )
    assert names(turns(queue)) == ["high", "old", "young", "low"]


def test_who_comes_to_a_queue_of_a_thousand_is_next() -> None:
    queue = queue_of(many("alice", 1000))
    taken = turns(queue)
    assert users([next(taken) for _ in range(10)]) == "a" * 10
    queue.put(waiting("first", "bob", since=2000))
    assert users([next(taken) for _ in range(4)]) == "baaa"


def test_a_weight_gives_its_share_of_turns() -> None:
    queue = queue_of([*many("alice", 400, weight=3), *many("bob", 400), *many("carol", 400, priority="High")])
    taken = turns(queue)
    assert Counter(users([next(taken) for _ in range(600)])) == {"a": 300, "b": 100, "c": 200}


def test_a_full_level_stops_its_own_and_nobody_behind_them() -> None:
    limits = SlotLimits(total=9, source=1)
    queue = queue_of(
        [
            *many("alice", 3, limits=limits, source="busy"),
            *many("bob", 2, limits=limits, source="busy"),
            *many("carol", 1, limits=limits, source="idle"),
        ]
    )
    live = Occupancy()
    found = [queue.take(live) for _ in range(3)]
    assert [item and item.entry.run for item in found] == ["alice-0000", "carol-0000", None]


def test_what_was_stopped_goes_on_when_its_level_has_room() -> None:
    limits = SlotLimits(total=9, source=1)
    queue = queue_of([*many("alice", 2, limits=limits), *many("bob", 2, limits=limits)])
    live = Occupancy()
    found = []
    for _ in range(4):
        item = queue.take(live)
        assert item is not None
        assert queue.take(live) is None
        found.append(item)
        queue.free(live.remove(item.entry.run))
    assert (users(found), len(queue)) == ("abab", 0)


def test_a_level_with_a_higher_limit_for_some_lets_those_go() -> None:
    """Two policies may give one user different limits."""
    live = Occupancy(waiting(f"live-{number}").entry for number in range(3))
    tight, wide = SlotLimits(total=9, user=1), SlotLimits(total=9, user=3)
    queue = queue_of([waiting("tight", limits=tight), waiting("wide", limits=wide, since=1)])
    assert queue.take(live) is None
    queue.free(live.remove("live-0"))
    item = queue.take(live)
    assert (item and item.entry.run, queue.take(live)) == ("wide", None)


def test_who_was_stopped_for_long_has_saved_up_one_turn() -> None:
    limits = SlotLimits(total=2, source=1)
    queue = queue_of([*many("alice", 50, limits=limits, source="busy"), *many("bob", 100, limits=limits)])
    live = Occupancy([waiting("x", "zed", source="busy").entry])
    for _ in range(50):
        item = queue.take(live)
        assert item is not None
        queue.free(live.remove(item.entry.run))
    queue.free(live.remove("x"))
    queue.put(waiting("first", "carol", limits=limits, since=500))
    found = []
    for _ in range(4):
        item = queue.take(live)
        assert item is not None
        found.append(item)
        queue.free(live.remove(item.entry.run))
    assert users(found) == "acab"


def test_putting_again_changes_nothing() -> None:
    queue = queue_of([*many("alice", 3), *many("bob", 3)])
    for item in [*many("bob", 3), *many("alice", 3)]:
        queue.put(item)
    assert (len(queue), users(turns(queue))) == (6, "ababab")


def test_a_request_that_changes_waits_once_as_what_it_is_now() -> None:
    queue = queue_of(many("alice", 2))
    changed = replace(many("alice", 2)[1], priority="High")
    queue.put(changed)
    assert list(turns(queue)) == [changed, many("alice", 2)[0]]


def test_leaving_and_coming_again_gains_nothing() -> None:
    queue = queue_of([*many("alice", 100), *many("bob", 100)])
    found = []
    for _ in range(60):
        item = queue.take(Occupancy())
        assert item is not None
        found.append(item)
        for each in [item for item in queue if item.entry.user == "alice"]:
            queue.remove(each.key)
            queue.put(each)
    assert users(found) == "ab" * 30


def test_a_turn_is_remembered_when_the_queue_is_empty() -> None:
    """Its run may be live yet: who comes next shall not wait for a second one of the same user."""
    queue = queue_of(many("alice", 1))
    assert users(turns(queue)) == "a"
    for item in [*many("alice", 2), waiting("first", "bob", since=99)]:
        queue.put(item)
    assert users(turns(queue)) == "baa"


def test_what_ran_while_nobody_waited_is_not_held_against_anybody() -> None:
    queue = FairQueue()
    for item in many("alice", 100):
        queue.put(item)
        assert queue.take(Occupancy()) == item
    for item in [*many("alice", 3), *many("bob", 3)]:
        queue.put(item)
    assert users(turns(queue)) == "bababa"


def test_a_turn_that_comes_to_nothing_is_not_counted() -> None:
    queue = queue_of([*many("alice", 2), *many("bob", 2)])
    for _ in range(3):
        item = queue.take(Occupancy())
        assert item is not None
        queue.put_back(item)
    assert users(turns(queue)) == "abab"


def test_a_copy_is_taken_from_without_the_original_noticing() -> None:
    queue = queue_of([*many("alice", 5), *many("bob", 3)])
    twin = queue.copy()
    assert (users(turns(twin)), len(queue), users(turns(queue))) == ("abababaa", 8, "abababaa")


# What is owed to everybody, on long random histories.

requests = st.tuples(st.sampled_from("abcd"), st.sampled_from(sorted(SHARES)), st.integers(0, 50))
weights = st.fixed_dictionaries({user: st.sampled_from([1, 2, 5, 100]) for user in "abcd"})


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, min_size=1, max_size=150), weights, st.data())
def test_nobody_who_waits_falls_behind_anybody_by_more_than_a_turn_of_each(
    given_requests: list[tuple[str, str, int]], weight: dict[str, int], data: st.DataObject
) -> None:
    """Golestani's bound: while both wait, the costs of their turns differ by at most one turn of each."""
    queue = FairQueue()
    pending = [
        waiting(f"{user}-{number:03}", user, since=since, weight=weight[user], priority=priority)
        for number, (user, priority, since) in enumerate(given_requests)
    ]
    spent = dict.fromkeys("abcd", 0)
    worst = {(user, other): 0 for user in "abcd" for other in "abcd"}
    while pending or len(queue):
        if pending and (not len(queue) or data.draw(st.booleans())):
            queue.put(pending.pop())
            continue
        before = {item.entry.user for item in queue}
        item = queue.take(Occupancy())
        assert item is not None
        spent[item.entry.user] += item.cost
        after = {item.entry.user for item in queue}
        for user in "abcd":
            for other in "abcd":
                # The lead of `other` over `user` since the two began to wait together.
                if {user, other} <= before & after:
                    lead = item.cost * ((item.entry.user == other) - (item.entry.user == user))
                    worst[user, other] = max(0, worst[user, other] + lead)
                    most = 2 * TURN // weight[user] + 2 * TURN // weight[other]
                    assert worst[user, other] <= most
                else:
                    worst[user, other] = 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 60), weights, st.sampled_from(sorted(SHARES)))
def test_a_thousand_of_one_user_delay_the_first_of_another_by_one_run_at_most(
    count: int, served: int, weight: dict[str, int], priority: str
) -> None:
    queue = queue_of(many("a", count, weight=weight["a"], priority="High"))
    taken = turns(queue)
    for _ in range(min(served, count - 1)):
        next(taken)
    queue.put(waiting("first", "b", since=5000, weight=weight["b"], priority=priority))
    assert "b" in users([next(taken), next(taken)] if len(queue) > 1 else taken)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["take", "leave", "leave and come"]), max_size=120))
def test_no_coming_and_going_gains_turns(moves: list[str]) -> None:
    """alice does what she likes with her requests; bob waits. She never has more than one turn more than he."""
    queue = queue_of([*many("alice", 60), *many("bob", 130)])
    away: list[Waiting] = []
    found: list[Waiting] = []
    for move in moves:
        hers = [item for item in queue if item.entry.user == "alice"]
        if move == "take":
            item = queue.take(Occupancy())
            assert item is not None
            found.append(item)
        elif hers:
            gone = queue.remove(hers[0].key)
            assert gone is not None
            away.append(gone)
        if move == "leave and come":
            for item in away:
                queue.put(item)
            away.clear()
    whose = users(found)
    leads = [whose[:end].count("a") - whose[:end].count("b") for end in range(len(whose) + 1)]
    assert max(leads) <= 1


# Every step of any history is that of a model without any cleverness.


@dataclass
class Model:
    """Looks at everybody each time."""

    virtual: int = 0
    tags: dict[Subject, int] = field(default_factory=dict)
    items: dict[Key, Waiting] = field(default_factory=dict)

    def put(self, item: Waiting) -> None:
        if self.items.get(item.key) == item:
            return
        self.remove(item.key)
        if all(other.owner != item.owner for other in self.items.values()):
            self.tags[item.owner] = max(self.tags.get(item.owner, 0), self.virtual)
        self.items[item.key] = item

    def remove(self, key: Key) -> None:
        self.items.pop(key, None)

    def take(self, live: Occupancy) -> Waiting | None:
        able = [item for item in self.items.values() if live.full(item.levels) is None]
        if not able:
            return None
        item = min(able, key=lambda item: (self.tags[item.owner], item.order))
        self.virtual = max(self.tags[item.owner], self.virtual)
        self.tags[item.owner] = self.virtual + item.cost
        self.remove(item.key)
        return item


LIMITS = (SlotLimits(4, user=2, source=2), SlotLimits(4, user=1, namespace=3), SlotLimits(4, destination=3, policy=3))

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "user": st.sampled_from(["alice", "bob", "carol"]),
    "limits": st.sampled_from(LIMITS),
    "source": st.sampled_from(["s", "t"]),
    "namespace": st.sampled_from(["m", "n"]),
    "priority": st.sampled_from(sorted(SHARES)),
    "weight": st.sampled_from([1, 3]),
    "since": st.integers(0, 9),
}


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.model = Model()
        self.gates: dict[Subject, int] = {}
        self.live = Occupancy(gate=self.gates.get)
        self.born = 0

    @rule(fields=st.fixed_dictionaries(FIELDS))
    def a_request_comes(self, fields: dict[str, Any]) -> None:
        self.born += 1
        item = waiting(f"r{self.born}", **fields)
        self.queue.put(item)
        self.model.put(item)

    @precondition(lambda self: len(self.queue) > 0)
    @rule(data=st.data())
    def a_request_leaves(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(list(self.queue)))
        assert self.queue.remove(item.key) == item
        self.model.remove(item.key)

    @precondition(lambda self: len(self.queue) > 0)
    @rule(data=st.data(), priority=st.sampled_from(sorted(SHARES)), limits=st.sampled_from(LIMITS))
    def a_request_changes(self, data: st.DataObject, priority: str, limits: SlotLimits) -> None:
        item = data.draw(st.sampled_from(list(self.queue)))
        changed = replace(item, priority=priority, levels=levels_of(item.entry, limits))
        self.queue.put(changed)
        self.model.put(changed)

    @precondition(lambda self: bool(self.live.entries))
    @rule(data=st.data())
    def a_run_ends(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.live.entries))
        self.queue.free(self.live.remove(entry.run))

    @rule(source=st.sampled_from(["s", "t"]), limit=st.none() | st.integers(0, 2))
    def a_gate_moves(self, source: str, limit: int | None) -> None:
        subject = Subject("Source", source)
        if limit is None:
            self.gates.pop(subject, None)
        else:
            self.gates[subject] = limit
        self.queue.free([subject])

    @rule()
    def a_slot_is_given(self) -> None:
        expected = self.model.take(self.live)
        assert self.queue.take(self.live) == expected

    @rule()
    def a_turn_comes_to_nothing(self) -> None:
        expected = self.model.take(self.live)
        item = self.queue.take(self.live)
        assert item == expected
        if item is not None:
            self.queue.free(self.live.remove(item.entry.run))
            self.queue.put_back(item)
            self.model.put(item)
            self.model.tags[item.owner] = max(self.model.tags[item.owner] - item.cost, 0)

    @rule()
    def a_copy_goes_on_in_its_place(self) -> None:
        self.queue = self.queue.copy()

    @invariant()
    def the_same_requests_wait(self) -> None:
        assert {item.key: item for item in self.queue} == self.model.items


TestHistories = pytest.mark.unit(Histories.TestCase)
TestHistories.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
