"""What is remembered of requests that are gone: bounded, and stable however often the same is tried."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain import quota
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry, Page, State, compact
from export_operator.domain.tombstones import LIFE, MAX_BYTES, MAX_STONES, Tombstone, Tombstones
from export_operator.domain.usage import parse_usage, render_usage
from export_operator.domain.windows import MAX_WINDOW, Sliding

from .builders import NOW, later

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")


def stone(name: str = "users", time: datetime = NOW, **changes: Any) -> Tombstone:
    base = Tombstone(
        request=Key("team-a", name),
        uid=f"uid of {name}",
        user="alice",
        digest="ab" * 32,
        run="0123456789abcdef0123",
        run_id="",
        phase="Succeeded",
        ended=time,
        time=time,
        result={"uri": "s3://exports/users.csv", "rows": 100, "usedFallback": False},
    )
    return replace(base, **changes)


def test_one_name_has_one_tombstone() -> None:
    found = Tombstones().put(stone(), NOW).put(stone("other"), NOW).put(stone(uid="b"), NOW)
    assert {each.uid for each in found.stones} == {"b", "uid of other"}
    assert (found.find(Key("team-a", "users")), found.find(Key("team-b", "users"))) == (stone(uid="b"), None)
    assert found.drop(Key("team-a", "users")) == Tombstones((stone("other"),))
    assert found.drop(Key("team-b", "users")) is found


def full() -> Tombstones:
    return Tombstones(tuple(stone(f"r{number:03}", later(number)) for number in range(MAX_STONES)))


def test_the_oldest_is_forgotten_when_there_is_no_room() -> None:
    found = full().put(stone("new", later(1000)), later(1000))
    assert found == Tombstones((*full().stones[1:], stone("new", later(1000))), forgotten=True)


def test_one_older_than_all_finds_no_room_and_changes_nothing() -> None:
    """Else those of many requests that are kept would push each other out for ever."""
    once = full().put(stone("old", later(-1)), later(1000))
    assert once == replace(full(), forgotten=True)
    assert once.put(stone("old", later(-1)), later(2000)) == once


def test_one_of_long_ago_is_forgotten() -> None:
    found = Tombstones((stone("old"),)).put(stone("new", NOW + LIFE), NOW + LIFE)
    assert found == Tombstones((stone("new", NOW + LIFE),), forgotten=True)


stones = st.builds(
    stone,
    st.sampled_from([f"r{number}" for number in range(300)]),
    st.integers(0, 120 * 86_400).map(later),
    user=st.text(min_size=1, max_size=40),
    expired=st.booleans(),
    result=st.fixed_dictionaries({"uri": st.text(max_size=2048)}),
    failure=st.fixed_dictionaries({}, optional={"message": st.text(max_size=256)}),
)


def rendered(found: Tombstones) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = render_usage("export-runs", ALICE, Page(tombstones=found))["spec"].get(
        "tombstones", []
    )
    return listed


@given(st.lists(st.tuples(st.integers(0, 299), st.integers(0, 120)), max_size=300))
def test_there_are_never_too_many_and_the_newest_is_there(several: list[tuple[int, int]]) -> None:
    """Names and days."""
    found, now = Tombstones(), NOW
    for number, day in sorted(several, key=lambda each: each[1]):
        now, put = later(day * 86_400), stone(f"r{number:03}", later(day * 86_400))
        found = found.put(put, now)
        assert found.put(put, now) == found
        assert found.find(put.request) == put or (found.forgotten and len(found.stones) == MAX_STONES)
    names = {each.request.name for each in found.stones}
    assert len(names) == len(found.stones) <= MAX_STONES
    assert found.forgotten or len(names) == len({number for number, _ in several})


def test_a_page_of_the_largest_stays_within_its_bytes() -> None:
    found = Tombstones()
    for number in range(MAX_STONES):
        found = found.put(
            stone(
                f"r{number}", later(number), user="ü" * 512, result={"uri": "ü" * 2048}, failure={"message": "ü" * 256}
            ),
            later(number),
        )
    size = len(json.dumps(rendered(found), ensure_ascii=False).encode())
    assert (MAX_BYTES * 0.8 < size <= MAX_BYTES, found.forgotten) == (True, True)


@given(st.lists(stones, max_size=5, unique_by=lambda each: each.request), st.booleans())
def test_tombstones_are_read_as_they_were_written(several: list[Tombstone], forgotten: bool) -> None:
    page = Page(tombstones=Tombstones(tuple(several), forgotten))
    body = render_usage("export-runs", ALICE, page)
    body["metadata"]["resourceVersion"] = "7"
    assert parse_usage(body).page == page


ENTRY = Entry("run", Key("team-a", "users"), "uid", NOW)
FIVE = quota.WindowLimit(ALICE, "User", Sliding(timedelta(days=1)), "p", requests=5)


def test_what_is_counted_touches_no_tombstone() -> None:
    kept = Tombstones((stone(),), forgotten=True)
    page = Page(tombstones=kept)
    reserved = quota.reserve(page, ENTRY, quota.Demand(), FIVE, NOW).page
    settled = quota.settle(reserved, {"run": quota.Settlement("run", rows=1, bytes=1)})
    back = quota.give_back(reserved, "run")
    later_on = compact(settled, NOW + MAX_WINDOW)
    assert later_on is not None
    found = [each.tombstones for each in (reserved, settled, back, later_on)]
    assert (found, len(later_on.entries)) == ([kept] * 4, 0)


def test_a_page_is_over_when_neither_its_windows_nor_its_tombstones_are_of_use() -> None:
    entry = replace(ENTRY, state=State.SETTLED)
    both = Page((entry,), tombstones=Tombstones((stone(),)))
    pages = (Page((entry,)), both)
    assert [[page.over(NOW + age) for page in pages] for age in (timedelta(), MAX_WINDOW, LIFE)] == [
        [False, False],
        [True, False],
        [True, True],
    ]
