"""Slots, by example and by property."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.model import Key
from export_operator.domain.pages import MAX_ENTRIES, Entry
from export_operator.domain.slots import SlotGrant, SlotLimits, take_slot

from .builders import NOW

pytestmark = pytest.mark.unit


def entry(run: str, time: datetime = NOW, **changes: str) -> Entry:
    base = Entry(
        run=run,
        request=Key(changes.pop("namespace", "team-a"), run),
        uid=f"uid-{run}",
        time=time,
        user="alice",
        source="app-db",
        destination="bucket",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_slot_is_given_while_every_level_has_room() -> None:
    assert take_slot((), entry("a"), SlotLimits(total=1)) == SlotGrant(True, True, (entry("a"),))


def test_a_run_that_holds_a_slot_keeps_it_without_a_write() -> None:
    assert take_slot((entry("a"),), entry("a"), SlotLimits(total=1)) == SlotGrant(True, False, (entry("a"),))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (SlotLimits(total=9, user=1), "UserConcurrency"),
        (SlotLimits(total=9, namespace=1), "NamespaceConcurrency"),
        (SlotLimits(total=9, policy=1), "PolicyConcurrency"),
        (SlotLimits(total=9, source=1), "SourceConcurrency"),
        (SlotLimits(total=9, destination=1), "DestinationConcurrency"),
        (SlotLimits(total=1), "ClusterConcurrency"),
    ],
)
def test_a_full_level_refuses_a_slot_under_its_name(limits: SlotLimits, reason: str) -> None:
    assert take_slot((entry("a"),), entry("b"), limits) == SlotGrant(False, False, (entry("a"),), reason)


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
    assert take_slot((entry("a"),), other, limits).granted


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
        held = take_slot(held, item, limits).entries
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
        answer = take_slot(held, item, limits)
        if not answer.granted:
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
            number, counted = of_level[answer.reason]
            assert sum(counted) == number
        held = answer.entries
