"""Pages of the ledger stay small, and what is summed up never counts for less."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import MANY, MAX_ENTRIES, Bucket, Entry, Page, State, compact, release
from export_operator.domain.quota import Demand, Settlement, WindowLimit, counting, reserve, settle, used
from export_operator.domain.usage import FORMAT, SLOTS, Usage, parse_usage, render_usage, usage_name
from export_operator.domain.windows import MAX_WINDOW, Sliding

from .builders import NOW, later

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
ETCD = 1024 * 1024  # less than etcd takes: room for what the API server adds
LONGEST = {"user": "語" * 512, "source": "s" * 253, "destination": "d" * 253, "policy": "p" * 253}


def entry(number: int, time: datetime, **changes: object) -> Entry:
    base = Entry(f"run-{number}", Key("team-a", f"r{number}"), f"uid-{number}", time, state=State.SETTLED, rows=3)
    return replace(base, **changes)  # type: ignore[arg-type]


def size(page: Page) -> int:
    return len(json.dumps(render_usage("export-runs", Subject("User", "alice"), page), ensure_ascii=False).encode())


def added(page: Page, *new: Entry) -> Page:
    found = compact(Page((*page.entries, *new), page.folded), new[-1].time)
    assert found is not None
    return found


def test_release_takes_away_the_run_alone() -> None:
    held = tuple(entry(number, NOW) for number in range(3))
    assert release(held, "run-1") == (held[0], held[2])


def test_an_entry_too_old_for_any_window_is_dropped() -> None:
    held = Page((entry(0, NOW),), (Bucket(NOW, NOW, 5, 5, 5, 5),))
    assert compact(held, NOW + MAX_WINDOW) == Page()


def test_runs_of_the_last_hour_stay_by_themselves_until_the_page_is_full() -> None:
    held = Page(tuple(entry(number, later(number)) for number in range(MAX_ENTRIES)))
    assert compact(held, later(3599)) == held


def test_of_older_runs_a_few_stay_by_themselves() -> None:
    held = Page(tuple(entry(number, later(number)) for number in range(MANY)))
    assert compact(held, NOW + DAY) == held


def test_of_many_older_runs_the_oldest_that_are_over_are_summed_up() -> None:
    old = tuple(
        entry(number, later(number), state=State.RESERVED if number == 0 else State.SETTLED)
        for number in range(MANY + 1)
    )
    new = tuple(entry(number, later(7200)) for number in range(MANY + 1, MANY + 11))
    folded = compact(Page((*old, *new)), later(7200))
    assert folded is not None
    assert folded.entries == (old[0], *old[44:], *new)
    assert sum(bucket.requests for bucket in folded.folded) == 43


def test_a_full_page_sums_up_its_oldest_runs_that_are_over() -> None:
    entries = tuple(
        entry(number, later(number), state=State.RESERVED if number == 0 else State.SETTLED)
        for number in range(MAX_ENTRIES + 1)
    )
    folded = compact(Page(entries), later(2000))
    assert folded is not None
    kept = [int(each.run.removeprefix("run-")) for each in folded.entries]
    assert (kept[0], kept[1:], sum(bucket.requests for bucket in folded.folded)) == (
        0,
        list(range(258, MAX_ENTRIES + 1)),
        257,
    )


def test_a_page_of_the_longest_names_fits_into_etcd() -> None:
    page = Page()
    for number in range(2000):
        page = added(page, entry(number, later(number), request=Key("n" * 63, "r" * 253), **LONGEST))
    assert size(page) < ETCD


def test_a_hundred_thousand_runs_in_a_window_are_counted_to_the_last() -> None:
    """The largest limit there is, used up within two days; one run more is refused."""
    limit = WindowLimit(Subject("Cluster", "all"), "Cluster", Sliding(2 * DAY), "default", 100_000)
    page, now, chance = Page(), NOW, random.Random(7)
    for first in range(0, 100_000, 200):
        new = []
        for number in range(first, first + 199):
            now += timedelta(seconds=chance.choice([0, 1, 2]))
            new.append(entry(number, now, rows=0))
        page = added(page, *new)
        last = entry(first + 199, now, state=State.RESERVED, rows=0)
        answer = reserve(page, last, Demand(), limit, now)
        assert answer.granted
        page = settle(answer.page, {last.run: Settlement(last.run)})
    refused = reserve(page, entry(100_000, now), Demand(), limit, now)
    assert (refused.granted, used(counting(page, limit.window, now), "requests")) == (False, 100_000)
    assert (size(page) < ETCD // 2, len(page.folded) < 800) == (True, True)


def test_the_number_of_sums_is_bounded() -> None:
    """A page that is folded again and again over the longest window."""
    page, most = Page(), 0
    for first in range(0, 20_000, 200):
        page = added(page, *(entry(number, later(200 * number)) for number in range(first, first + 200)))
        most = max(most, len(page.folded))
    assert most < 800


moments = st.lists(st.integers(0, 40 * 86_400), min_size=1, max_size=60).map(sorted)


@settings(max_examples=30)
@given(moments, st.integers(1, 31), st.randoms(use_true_random=False))
def test_what_is_summed_up_never_counts_for_less_nor_much_longer(
    offsets: list[int], days: int, chance: random.Random
) -> None:
    """Against all entries one by one. What counts too long does so by a 48th of its age, or a minute, at most."""
    every: list[Entry] = []
    page = Page()
    for number, offset in enumerate(offsets):
        new = [entry(number * 40 + part, later(offset), rows=chance.randrange(100)) for part in range(40)]
        every.extend(new)
        page = added(page, *new)
    now, window = later(offsets[-1]), timedelta(days=days)
    slack = max(window / 47, timedelta(minutes=1))
    found = {resource: used(counting(page, Sliding(window), now), resource) for resource in ("requests", "rows")}
    least = {resource: used(counting(Page(tuple(every)), Sliding(window), now), resource) for resource in found}
    wide = min(window + slack, MAX_WINDOW)
    most = {resource: used(counting(Page(tuple(every)), Sliding(wide), now), resource) for resource in found}
    assert [name for name in found if not least[name] <= found[name] <= most[name]] == []


# As documents.

ALICE = Subject("User", "alice")
entries = st.builds(
    Entry,
    run=st.text(min_size=1, max_size=8),
    request=st.builds(Key, st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=5)),
    uid=st.text(min_size=1, max_size=5),
    time=st.integers(0, 10**6).map(later),
    user=st.text(max_size=5),
    source=st.text(max_size=5),
    destination=st.text(max_size=5),
    policy=st.text(max_size=5),
    state=st.sampled_from(State),
    rows=st.integers(0, 10**15),
    bytes=st.integers(0, 10**15),
)
counts = st.integers(0, 10**9)
buckets = st.builds(Bucket, st.just(NOW), st.just(later(60)), counts, counts, counts, counts)
any_page = st.builds(
    Page, st.lists(entries, max_size=4, unique_by=lambda each: each.run).map(tuple), st.lists(buckets).map(tuple)
)


def document(page: Page, subject: Subject = ALICE) -> dict[str, object]:
    body = render_usage("export-runs", subject, page)
    body["metadata"]["resourceVersion"] = "5"
    return body


@given(any_page)
def test_a_page_read_back_is_the_one_that_was_written(page: Page) -> None:
    read = json.loads(json.dumps(document(page)))
    assert parse_usage(read) == Usage(usage_name(ALICE), "5", ALICE, page)


def test_a_page_from_before_states_has_its_runs_reserved() -> None:
    old = {
        "metadata": {"name": usage_name(ALICE), "resourceVersion": "5"},
        "spec": {
            "subject": {"kind": "User", "name": "alice"},
            "entries": [
                {"run": "a", "namespace": "team-a", "name": "r", "uid": "u", "time": "2026-11-24T12:00:00Z"},
            ],
        },
    }
    assert parse_usage(old).page == Page((Entry("a", Key("team-a", "r"), "u", NOW),))


GOOD = {"run": "x", "namespace": "n", "name": "m", "uid": "u", "time": "2026-11-24T12:00:00Z"}
BUCKET = {"since": GOOD["time"], "until": GOOD["time"], "requests": 1, "launches": 1, "rows": 1, "bytes": 1}
DAMAGE: dict[str, dict[str, object]] = {
    "an entry without a time": {"entries": [GOOD | {"time": None}]},
    "an entry with a time that is none": {"entries": [GOOD | {"time": "noon"}]},
    "an entry without a request": {"entries": [{"run": "x", "time": GOOD["time"]}]},
    "an entry of an unknown state": {"entries": [GOOD | {"state": "Forgiven"}]},
    "an entry of negative rows": {"entries": [GOOD | {"rows": -1}]},
    "an entry that is a text": {"entries": ["x"]},
    "a run that stands twice": {"entries": [GOOD, GOOD]},
    "a sum without an end": {"folded": [BUCKET | {"until": None}]},
    "a sum of nothing": {"folded": [{}]},
    "a negative sum": {"folded": [BUCKET | {"requests": -5}]},
    "no subject": {"subject": {}},
    "the subject of another": {"subject": {"kind": "User", "name": "mallory"}},
    "a version of the future": {"version": FORMAT + 1},
    "a version that is a text": {"version": "two"},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_page_is_unreadable_and_not_empty(damage: str) -> None:
    body = document(Page())
    assert isinstance(body["spec"], dict)
    body["spec"] |= DAMAGE[damage]
    found = parse_usage(body)
    assert (bool(found.fault), found.page) == (True, Page())


def test_the_slots_page_has_a_name_of_its_own() -> None:
    assert [usage_name(SLOTS), usage_name(ALICE)[:9]] == ["slots", "user-2bd8"]
