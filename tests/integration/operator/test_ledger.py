"""The ledger on a real API server: many who race, two operators, damage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_operator.adapters import ledger as adapter
from export_operator.adapters.cells import LedgerError
from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.ledger import Ledger
from export_operator.domain.identity import Subject
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.domain.pages import MAX_ENTRIES, Entry, Page, State, release
from export_operator.domain.quota import Admission, Demand, Settlement, Size, WindowLimit
from export_operator.domain.slots import Occupancy, SlotLimits, grant, levels_of
from export_operator.domain.usage import FORMAT, SLOTS, parse_usage, render_usage, usage_name
from export_operator.domain.windows import MAX_WINDOW, Sliding

from .connections import Connect, Counting, running, synced, until

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = Sliding(timedelta(days=1))
ALICE = Subject("User", "alice")
TEAM = Subject("Namespace", "team-a")
ANY = Demand()
SUBJECTS = (ALICE, TEAM, Subject("Policy", "default"), Subject("Cluster", "all"))


def five(subject: Subject, **changes: Any) -> WindowLimit:
    return replace(WindowLimit(subject, subject.kind, DAY, "default", 5), **changes)


FIVE = five(ALICE)


def entry(run: str) -> Entry:
    return Entry(
        run=run,
        request=Key("team-a", run),
        uid=f"uid-{run}",
        time=NOW,
        user="alice",
        source="app-db",
        destination="bucket",
        policy="default",
    )


def quiet(kube: Kube, namespace: str) -> Ledger:
    return Ledger(kube, namespace, lambda: None)


def kept(*ledgers: Ledger) -> AbstractAsyncContextManager[None]:
    return synced(*(ledger.informer for ledger in ledgers))


async def race(
    ledgers: Sequence[Ledger], runs: Sequence[str], limits: Sequence[WindowLimit], demand: Demand = ANY
) -> list[Admission]:
    return await asyncio.gather(
        *(ledgers[index % len(ledgers)].reserve(entry(run), demand, limits, NOW) for index, run in enumerate(runs))
    )


def taking(run: str, limits: SlotLimits) -> Callable[[tuple[Entry, ...]], tuple[tuple[Entry, ...], str]]:
    def take(held: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], str]:
        levels = levels_of(entry(run), limits)
        full = Occupancy(held).full(levels)
        return grant(held, [(entry(run), levels)]), full.reason if full is not None else ""

    return take


def releasing(run: str) -> Callable[[tuple[Entry, ...]], tuple[tuple[Entry, ...], None]]:
    return lambda held: (release(held, run), None)


async def stored(kube: Kube, namespace: str, subject: Subject) -> tuple[Entry, ...]:
    """The subject's entries as the API server has them."""
    document = await kube.get(path_of(GROUP, VERSION, "exportusages", usage_name(subject), namespace=namespace))
    return parse_usage(document).page.entries


async def page(kube: Kube, namespace: str, subject: Subject) -> list[str]:
    return sorted(item.run for item in await stored(kube, namespace, subject))


RUNS = [f"run-{index:02}" for index in range(60)]


@pytest.mark.parametrize("level", range(len(SUBJECTS)), ids=[subject.kind for subject in SUBJECTS])
async def test_sixty_who_race_across_two_operators_win_exactly_five_places(
    kube: Kube, connect: Connect, namespace: str, level: int
) -> None:
    """Whichever level the limit is at, those before it roomy: exactly five win, and nobody else holds a place."""
    limits = [five(subject, requests=1000) for subject in SUBJECTS[:level]] + [five(SUBJECTS[level])]
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    async with kept(*ledgers):
        answers = await race(ledgers, RUNS, limits)
    winners = [run for run, answer in zip(RUNS, answers, strict=True) if answer.granted]
    held = [await page(kube, namespace, limit.subject) for limit in limits]
    assert (len(winners), held) == (5, [winners] * len(limits))


async def test_sixty_who_race_for_rows_reserve_no_more_than_there_are(
    kube: Kube, connect: Connect, namespace: str
) -> None:
    limits = [five(ALICE, requests=None, rows=1000)]
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    async with kept(*ledgers):
        answers = await race(ledgers, RUNS, limits, Demand(Size(90)))
    entries = await stored(kube, namespace, ALICE)
    told = sorted(answer.max_rows or 0 for answer in answers if answer.granted)
    assert (sum(each.rows for each in entries), sorted(each.rows for each in entries)) == (1000, told)


async def test_two_operators_that_admit_the_same_runs_charge_each_once(
    kube: Kube, connect: Connect, namespace: str
) -> None:
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    async with kept(*ledgers):
        answers = await race(ledgers, [run for run in RUNS[:5] for _ in ledgers], [FIVE])
    assert ([answer.granted for answer in answers], await page(kube, namespace, ALICE)) == ([True] * 10, RUNS[:5])


async def test_two_operators_give_no_more_slots_than_there_are(kube: Kube, connect: Connect, namespace: str) -> None:
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    limits = SlotLimits(total=100, user=3)
    async with kept(*ledgers):
        answers = await asyncio.gather(
            *(ledgers[index % 2].change_slots(taking(run, limits)) for index, run in enumerate(RUNS[:30]))
        )
    assert (answers.count(""), len(await page(kube, namespace, SLOTS))) == (3, 3)


async def test_a_storm_of_conflicts_ends_and_loses_nothing(kube: Kube, connect: Connect, namespace: str) -> None:
    """Four operators change one page at once: each write of one is a conflict for the others."""
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(4)]
    roomy = five(ALICE, requests=1000)
    async with kept(*ledgers):
        for wave in range(5):
            await race(ledgers, [f"{wave}-{run}" for run in RUNS[:20]], [roomy])
            ledgers[wave % 4].settle(Settlement(f"{wave}-run-00", rows=wave))
        await asyncio.gather(*(ledger.deferred.flush() for ledger in ledgers))
    entries = await stored(kube, namespace, ALICE)
    settled = sorted((each.run, each.rows) for each in entries if each.state is State.SETTLED)
    assert (len(entries), settled) == (100, [(f"{wave}-run-00", wave) for wave in range(5)])


async def test_forty_at_once_cost_a_handful_of_writes(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        answers = await race([ledger], RUNS[:40], [FIVE])
    assert sum(answer.granted for answer in answers) == 5
    assert kube.writes <= 6


async def test_a_refusal_writes_nothing(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await race([ledger], RUNS[:5], [FIVE])
        before = kube.writes
        await race([ledger], RUNS[5:40], [FIVE])
    assert kube.writes == before


async def test_a_refusal_by_a_later_window_writes_nothing_either(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    limits = [five(ALICE, requests=1000), five(TEAM, requests=1)]
    async with kept(ledger):
        await race([ledger], ["a"], limits)
        before = kube.writes
        (answer,) = await race([ledger], ["b"], limits)
    assert ([state.full for state in answer.states], kube.writes) == ([False, True], before)


async def test_what_is_given_back_is_given_back_in_every_window(kube: Kube, namespace: str) -> None:
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await race([ledger], ["a", "b"], [FIVE, five(TEAM)])
        await ledger.give_back("a")
    assert [await page(kube, namespace, subject) for subject in (ALICE, TEAM)] == [["b"], ["b"]]


async def test_settlements_go_along_with_the_next_write(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await race([ledger], RUNS[:4], [FIVE])
        before = kube.writes
        for run in RUNS[:4]:
            ledger.settle(Settlement(run, rows=7, bytes=70))
        await race([ledger], ["next"], [FIVE])
    entries = await stored(kube, namespace, ALICE)
    assert (kube.writes - before, [(each.run, each.state, each.rows) for each in entries]) == (
        1,
        [*((run, State.SETTLED, 7) for run in RUNS[:4]), ("next", State.RESERVED, 0)],
    )


async def test_a_flush_settles_many_runs_by_one_write_of_each_page(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await race([ledger], RUNS[:5], [FIVE, five(TEAM)])
        before = kube.writes
        for run in RUNS[:5]:
            ledger.settle(Settlement(run, refunded=True))
        await ledger.deferred.flush()
        await ledger.deferred.flush()
    assert (kube.writes - before, {each.state for each in await stored(kube, namespace, TEAM)}) == (
        2,
        {State.REFUNDED},
    )


async def test_a_settlement_that_somebody_waits_for_is_told_at_once_and_counts(kube: Kube, namespace: str) -> None:
    freed: list[Subject] = []
    ledger = Ledger(kube, namespace, lambda: None, freed.append)
    limit = five(ALICE, rows=100)
    async with kept(ledger):
        answers = [(await race([ledger], [run], [limit]))[0].granted for run in ("a", "b")]
        assert (answers, freed) == ([True, False], [])
        ledger.settle(Settlement("a", rows=60))
        assert freed == [ALICE]
        (answer,) = await race([ledger], ["b"], [limit])
    assert (answer.granted, answer.max_rows) == (True, 40)


async def test_settlements_that_nobody_waits_for_are_written_after_a_while(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "FLUSH_SECONDS", 0.5)
    ledger = quiet(kube, namespace)
    async with kept(ledger), running(ledger.run(lambda: NOW)):
        await race([ledger], ["a"], [FIVE])
        ledger.settle(Settlement("a", rows=60))
        await until(lambda: not ledger.unsettled("a"), "the settlement is written")
    assert [each.rows for each in await stored(kube, namespace, ALICE)] == [60]


async def test_a_run_that_has_its_place_writes_nothing_when_it_asks_again(connect: Connect, namespace: str) -> None:
    """Not even what waits to be settled, for each run of a crowd asks again when it has its slot."""
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await race([ledger], ["a", "b"], [FIVE])
        ledger.settle(Settlement("a", rows=60))
        before = kube.writes
        (answer,) = await race([ledger], ["b"], [FIVE])
        assert (answer.granted, answer.first, kube.writes - before) == (True, False, 0)


async def test_a_settlement_waits_longer_while_other_runs_of_the_page_are_under_way(
    connect: Connect, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end as well, and one write is for all. The page in which nobody else is is written meanwhile."""
    monkeypatch.setattr(adapter, "FLUSH_SECONDS", 0.5)
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger), running(ledger.run(lambda: NOW)):
        await race([ledger], ["a", "b"], [FIVE])
        await race([ledger], ["c"], [five(TEAM)])
        ledger.settle(Settlement("a", rows=60))
        ledger.settle(Settlement("c", rows=70))
        await until(lambda: not ledger.unsettled("c"), "the settlement of the team is written")
        assert {each.state for each in await stored(kube, namespace, ALICE)} == {State.RESERVED}
        before = kube.writes
        ledger.settle(Settlement("b", rows=80))
        await until(lambda: not ledger.unsettled("a"), "the settlements of Alice are written")
    assert ([each.rows for each in await stored(kube, namespace, ALICE)], kube.writes - before) == ([60, 80], 1)


async def test_pages_in_which_nothing_counts_any_more_are_removed(kube: Kube, connect: Connect, namespace: str) -> None:
    """But none that another operator has used meanwhile, of which this one's cache has not heard."""
    ledger, other = quiet(kube, namespace), quiet(await connect(Kube), namespace)
    async with kept(ledger, other):
        await race([ledger], ["a"], [FIVE, five(TEAM)])
        await ledger.change_slots(taking("a", SlotLimits(total=9)))
        await until(lambda: len(other.informer.items) == 3, "the other operator knows the pages")
    late = NOW + MAX_WINDOW
    await other.reserve(replace(entry("b"), time=late), ANY, [FIVE], late)
    await ledger.prune(late)
    found, _ = await kube.list(path_of(GROUP, VERSION, "exportusages", namespace=namespace))
    assert sorted(item["metadata"]["name"] for item in found) == ["slots", usage_name(ALICE)]


async def test_a_slot_that_is_freed_goes_along_with_the_next_write(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await ledger.change_slots(taking("a", SlotLimits(total=1)))
        before = kube.writes
        ledger.free_slot("a")
        assert (ledger.slots(), await page(kube, namespace, SLOTS)) == ({}, ["a"])
        assert await ledger.change_slots(taking("b", SlotLimits(total=1))) == ""
    assert (kube.writes - before, await page(kube, namespace, SLOTS)) == (1, ["b"])


async def test_a_freed_slot_wakes_those_who_wait(kube: Kube, namespace: str) -> None:
    woken: list[bool] = []
    ledger = Ledger(kube, namespace, lambda: woken.append(True))
    async with kept(ledger):
        await ledger.change_slots(taking("a", SlotLimits(total=9)))
        assert (list(ledger.slots()), woken) == (["a"], [])
        await ledger.change_slots(releasing("a"))
    assert (list(ledger.slots()), woken) == ([], [True])


async def test_another_operators_release_wakes_those_who_wait(kube: Kube, connect: Connect, namespace: str) -> None:
    woken: list[bool] = []
    first = Ledger(kube, namespace, lambda: woken.append(True))
    second = quiet(await connect(Kube), namespace)
    async with kept(first, second):
        await first.change_slots(taking("a", SlotLimits(total=9)))
        await until(lambda: list(second.slots()) == ["a"], "the second operator knows the slot")
        await second.change_slots(releasing("a"))
        await until(lambda: bool(woken), "the first operator's waiters are woken")


async def test_an_operator_that_starts_anew_knows_every_slot_and_every_place(
    kube: Kube, connect: Connect, namespace: str
) -> None:
    before = quiet(kube, namespace)
    async with kept(before):
        await race([before], ["a", "b"], [FIVE, five(TEAM)])
        await before.change_slots(taking("a", SlotLimits(total=9)))
        before.settle(Settlement("b", rows=1))
        await before.deferred.flush()
    after = quiet(await connect(Kube), namespace)
    async with kept(after):
        request = Key("team-a", "a")
        assert (
            after.slots(),
            after.slots_of(request),
            after.unsettled("a"),
            after.unsettled("b"),
            after.requests(),
        ) == (
            {"a": entry("a")},
            [entry("a")],
            {ALICE: entry("a"), TEAM: entry("a")},
            {},
            {request},
        )


async def damage(kube: Kube, namespace: str, **spec: Any) -> str:
    """A page of alice's that is not what the operator writes; its path."""
    path = path_of(GROUP, VERSION, "exportusages", namespace=namespace)
    body = render_usage(namespace, ALICE, Page())
    body["spec"] |= spec
    await kube.create(path, body)
    return f"{path}/{usage_name(ALICE)}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"entries": [{"run": "x", "namespace": "n", "name": "m", "uid": "u"}]}, r"it is damaged \(KeyError: 'time'\)"),
        ({"version": FORMAT + 1}, f"its version {FORMAT + 1} is newer than this operator"),
    ],
    ids=["damaged", "too new"],
)
async def test_a_page_that_cannot_be_read_admits_nobody(
    kube: Kube, namespace: str, spec: dict[str, Any], message: str
) -> None:
    await damage(kube, namespace, **spec)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        with pytest.raises(LedgerError, match=rf"^ExportUsage user-\w+ in {namespace}: {message}$"):
            await ledger.reserve(entry("a"), Demand(), [FIVE], NOW)


async def test_unreadable_pages_are_counted_until_they_are_mended(kube: Kube, namespace: str) -> None:
    counts: list[int] = []
    ledger = Ledger(kube, namespace, lambda: None, unreadable=counts.append)
    async with kept(ledger):
        path = await damage(kube, namespace, entries=[{"run": "x"}])
        await until(lambda: counts == [1], "the damage is told")
        await kube.patch(path, {"spec": {"entries": []}})
        await until(lambda: counts == [1, 0], "its end is told")


async def test_damage_to_the_slots_forgets_none_that_is_held(kube: Kube, namespace: str) -> None:
    counts: list[int] = []
    ledger = Ledger(kube, namespace, lambda: None, unreadable=counts.append)
    async with kept(ledger):
        await ledger.change_slots(taking("a", SlotLimits(total=9)))
        path = path_of(GROUP, VERSION, "exportusages", "slots", namespace=namespace)
        await kube.patch(path, {"spec": {"entries": [{"run": "x"}]}})
        await until(lambda: counts == [1], "the damage is told")
        assert list(ledger.slots()) == ["a"]
        with pytest.raises(LedgerError, match=r"^ExportUsage slots in .*: it is damaged"):
            await ledger.change_slots(lambda held: (release(held, "a"), None))


async def test_a_page_that_is_deleted_is_made_anew(kube: Kube, namespace: str) -> None:
    ledger = quiet(kube, namespace)
    path = path_of(GROUP, VERSION, "exportusages", usage_name(ALICE), namespace=namespace)
    async with kept(ledger):
        await race([ledger], ["a"], [FIVE])
        await kube.delete(path, uid=(await kube.get(path))["metadata"]["uid"])
        await race([ledger], ["b"], [FIVE])
    assert await page(kube, namespace, ALICE) == ["b"]


async def test_an_operator_without_rights_admits_nobody(connect: Connect, namespace: str, kube: Kube) -> None:
    reader = quiet(kube, namespace)
    blocked = quiet(await connect(Kube, "nobody"), namespace)
    blocked.informer = reader.informer
    async with kept(reader):
        with pytest.raises(LedgerError, match="403 Forbidden"):
            await blocked.reserve(entry("a"), Demand(), [FIVE], NOW)


async def test_a_full_page_passes_through_the_watch(kube: Kube, connect: Connect, namespace: str) -> None:
    ledger = quiet(await connect(Kube), namespace)
    entries = tuple(replace(entry(f"{index:020}"), rows=10**9, bytes=10**12) for index in range(MAX_ENTRIES))
    async with kept(ledger):
        body = render_usage(namespace, ALICE, Page(entries))
        await kube.create(path_of(GROUP, VERSION, "exportusages", namespace=namespace), body)
        await until(lambda: ledger.page(ALICE) is not None, "the page is seen")
    assert ledger.page(ALICE) == Page(entries)


async def test_a_full_page_goes_on_counting(kube: Kube, namespace: str) -> None:
    """It is folded, and the API server takes what comes of it."""
    ledger = quiet(kube, namespace)
    old = tuple(
        replace(entry(f"{index:020}"), time=NOW - timedelta(seconds=MAX_ENTRIES - index), state=State.SETTLED, rows=3)
        for index in range(MAX_ENTRIES)
    )
    async with kept(ledger):
        body = render_usage(namespace, ALICE, Page(old))
        await kube.create(path_of(GROUP, VERSION, "exportusages", namespace=namespace), body)
        await until(lambda: ledger.page(ALICE) is not None, "the page is seen")
        (answer,) = await race([ledger], ["new"], [five(ALICE, requests=MAX_ENTRIES + 1, rows=10**6)])
        (refused,) = await race([ledger], ["more"], [five(ALICE, requests=MAX_ENTRIES + 1, rows=10**6)])
    assert [(state.resource, state.used) for state in answer.states] == [
        ("requests", MAX_ENTRIES + 1),
        ("rows", 10**6),
    ]
    assert (refused.granted, len(await stored(kube, namespace, ALICE)) < MAX_ENTRIES) == (False, True)


async def test_a_page_read_back_is_the_one_that_was_written(kube: Kube, namespace: str) -> None:
    strange = Subject("User", "https://idp.example/ålice?x=1#y")
    written = await kube.create(
        path_of(GROUP, VERSION, "exportusages", namespace=namespace),
        render_usage(namespace, strange, Page((entry("a"),))),
    )
    found = parse_usage(written)
    assert (found.subject, found.page, found.fault) == (strange, Page((entry("a"),)), "")
