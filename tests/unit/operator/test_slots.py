"""Slots, by example and by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.pages import MAX_ENTRIES, Entry
from export_operator.domain.slots import Occupancy, SlotLimits, grant, levels_of

from .builders import entry, later

pytestmark = pytest.mark.unit


def give(held: tuple[Entry, ...], wanted: Entry, limits: SlotLimits) -> tuple[Entry, ...]:
    return grant(held, [(wanted, levels_of(wanted, limits))])


def reason(held: tuple[Entry, ...], wanted: Entry, limits: SlotLimits) -> str | None:
    full = Occupancy(held).full(levels_of(wanted, limits))
    return None if full is None else full.reason


def test_a_slot_is_given_while_every_level_has_room() -> None:
    assert give((), entry("a"), SlotLimits(total=1)) == (entry("a"),)


def test_a_run_that_holds_a_slot_keeps_it_as_it_is() -> None:
    assert give((entry("a"),), entry("a", later(9)), SlotLimits(total=2)) == (entry("a"),)


def test_many_are_given_in_the_order_in_which_they_are_wanted() -> None:
    wanted = [(entry(run), levels_of(entry(run), SlotLimits(total=3))) for run in "dcba"]
    assert grant((entry("x"),), wanted) == (entry("x"), entry("d"), entry("c"))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (SlotLimits(total=9, user=1), "UserConcurrency"),
        (SlotLimits(total=9, namespace=1), "NamespaceConcurrency"),
        (SlotLimits(total=9, policy=1), "PolicyConcurrency"),
        (SlotLimits(total=9, source=1), "SourceConcurrency"),
        (SlotLimits(total=9, destination=1), "DestinationConcurrency"),
        (SlotLimits(total=1), "ClusterConcurrency"),
    ],
)
def test_a_full_level_refuses_a_slot_under_its_name(limits: SlotLimits, expected: str) -> None:
    held = (entry("a"),)
    assert (give(held, entry("b"), limits), reason(held, entry("b"), limits)) == (held, expected)


@pytest.mark.parametrize(
    ("other", "limits"),
    [
        (entry("b", user="bob"), SlotLimits(total=9, user=1)),
        (entry("b", namespace="team-b"), SlotLimits(total=9, namespace=1)),
        (entry("b", policy="other"), SlotLimits(total=9, policy=1)),
        (entry("b", source="other"), SlotLimits(total=9, source=1)),
        (entry("b", destination="other"), SlotLimits(total=9, destination=1)),
    ],
)
def test_a_level_counts_only_its_own(other: Entry, limits: SlotLimits) -> None:
    assert give((entry("a"),), other, limits) == (entry("a"), other)


def test_a_service_account_counts_as_its_namespace_with_the_tighter_of_both_limits() -> None:
    robot = entry("b", user="system:serviceaccount:tools:robot")
    assert [
        reason((entry("a"),), robot, SlotLimits(total=9, user=user, namespace=namespace))
        for user, namespace in ((1, 5), (5, 1), (1, None), (5, 5))
    ] == ["NamespaceConcurrency"] * 3 + [None]


@pytest.mark.parametrize(("gate", "expected"), [(0, "SourceUnavailable"), (1, "SourceRecovering"), (2, None)])
def test_a_gate_is_a_limit_of_its_source(gate: int, expected: str | None) -> None:
    live = Occupancy([entry("a")], {Subject("Source", "app-db"): gate}.get)
    full = live.full(levels_of(entry("b"), SlotLimits(total=9)))
    assert (None if full is None else full.reason) == expected


def test_an_occupancy_forgets_who_has_left() -> None:
    live = Occupancy([entry("a"), entry("b")])
    live.remove("a")
    assert (live.remove("a"), live.entries, live.held(Subject("User", "alice"))) == (frozenset(), (entry("b"),), 1)


levels = st.none() | st.integers(1, 4)
all_limits = st.builds(
    SlotLimits,
    total=st.integers(1, 10),
    user=levels,
    namespace=levels,
    policy=levels,
    source=levels,
    destination=levels,
)
wanted_slots = st.lists(
    st.builds(
        entry,
        st.integers(0, 40).map("run-{}".format),
        user=st.sampled_from(["alice", "bob"]),
        namespace=st.sampled_from(["team-a", "team-b"]),
        policy=st.sampled_from(["p", "q"]),
        source=st.sampled_from(["s", "t"]),
        destination=st.sampled_from(["d", "e"]),
    ),
    max_size=40,
)


@given(wanted_slots, all_limits)
def test_slots_never_exceed_any_level(wanted: list[Entry], limits: SlotLimits) -> None:
    held: tuple[Entry, ...] = ()
    for item in wanted:
        held = give(held, item, limits)
    groups = {
        "total": [len(held)],
        "user": [sum(item.user == name for item in held) for name in ("alice", "bob")],
        "namespace": [sum(item.request.namespace == name for item in held) for name in ("team-a", "team-b")],
        "policy": [sum(item.policy == name for item in held) for name in ("p", "q")],
        "source": [sum(item.source == name for item in held) for name in ("s", "t")],
        "destination": [sum(item.destination == name for item in held) for name in ("d", "e")],
    }
    over = [name for name, counts in groups.items() if max(counts) > (getattr(limits, name) or MAX_ENTRIES)]
    assert over == []


@given(wanted_slots, all_limits)
def test_a_slot_is_refused_only_where_the_named_level_is_full(wanted: list[Entry], limits: SlotLimits) -> None:
    held: tuple[Entry, ...] = ()
    for item in wanted:
        refused = reason(held, item, limits)
        if refused is not None and item.run not in {other.run for other in held}:
            of_level = {
                "UserConcurrency": (limits.user, [other.user == item.user for other in held]),
                "NamespaceConcurrency": (
                    limits.namespace,
                    [other.request.namespace == item.request.namespace for other in held],
                ),
                "PolicyConcurrency": (limits.policy, [other.policy == item.policy for other in held]),
                "SourceConcurrency": (limits.source, [other.source == item.source for other in held]),
                "DestinationConcurrency": (
                    limits.destination,
                    [other.destination == item.destination for other in held],
                ),
                "ClusterConcurrency": (limits.total, [True] * len(held)),
            }
            number, counted = of_level[refused]
            assert sum(counted) == number
        held = give(held, item, limits)
