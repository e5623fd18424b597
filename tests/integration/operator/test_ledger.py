"""The ledger on a real API server: many who race, two operators, damage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_operator.adapters.kube import Kube, path_of
from export_operator.adapters.ledger import SLOTS, Ledger, LedgerError, parse_usage, render_usage, usage_name
from export_operator.domain.actions import Admission
from export_operator.domain.identity import Subject
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.domain.quota import MAX_ENTRIES, Entry, WindowLimit
from export_operator.domain.slots import SlotLimits

from .connections import Connect, Counting, synced, until

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ALICE = Subject("User", "alice")
TEAM = Subject("Namespace", "team-a")
FIVE = WindowLimit(ALICE, "User", 5, timedelta(days=1), "default")
ROOMY = SlotLimits(total=100)


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
    ledgers: Sequence[Ledger], runs: Sequence[str], limits: Sequence[WindowLimit], slots: SlotLimits = ROOMY
) -> list[Admission]:
    return await asyncio.gather(
        *(ledgers[index % len(ledgers)].admit(entry(run), limits, slots, NOW) for index, run in enumerate(runs))
    )


async def page(kube: Kube, namespace: str, subject: Subject) -> list[str]:
    """The runs that the API server has in the subject's page."""
    document = await kube.get(path_of(GROUP, VERSION, "exportusages", usage_name(subject), namespace=namespace))
    return sorted(item.run for item in parse_usage(document).entries)


RUNS = [f"run-{index:02}" for index in range(60)]


async def test_sixty_who_race_across_two_operators_win_exactly_five_places(
    kube: Kube, connect: Connect, namespace: str
) -> None:
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    async with kept(*ledgers):
        answers = await race(ledgers, RUNS, [FIVE])
    winners = [run for run, answer in zip(RUNS, answers, strict=True) if answer.windows_granted]
    assert (len(winners), await page(kube, namespace, ALICE)) == (5, winners)


async def test_two_operators_that_admit_the_same_runs_charge_each_once(
    kube: Kube, connect: Connect, namespace: str
) -> None:
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    async with kept(*ledgers):
        answers = await race(ledgers, [run for run in RUNS[:5] for _ in ledgers], [FIVE])
    assert ([answer.windows_granted for answer in answers], await page(kube, namespace, ALICE)) == (
        [True] * 10,
        RUNS[:5],
    )


async def test_two_operators_give_no_more_slots_than_there_are(kube: Kube, connect: Connect, namespace: str) -> None:
    ledgers = [quiet(await connect(Kube), namespace) for _ in range(2)]
    async with kept(*ledgers):
        answers = await race(ledgers, RUNS[:30], [], SlotLimits(total=100, user=3))
    assert (sum(answer.slot_granted for answer in answers), len(await page(kube, namespace, SLOTS))) == (3, 3)


async def test_forty_at_once_cost_a_handful_of_writes(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        answers = await race([ledger], RUNS[:40], [FIVE])
    assert sum(answer.windows_granted for answer in answers) == 5
    assert kube.writes <= 6


async def test_a_refusal_writes_nothing(connect: Connect, namespace: str) -> None:
    kube = await connect(Counting)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        await race([ledger], RUNS[:5], [FIVE])
        before = kube.writes
        await race([ledger], RUNS[5:40], [FIVE])
    assert kube.writes == before


async def test_a_refused_second_window_gives_the_first_back(kube: Kube, namespace: str) -> None:
    ledger = quiet(kube, namespace)
    none_left = WindowLimit(TEAM, "Namespace", 0, timedelta(days=1), "default")
    async with kept(ledger):
        answers = await race([ledger], ["a"], [FIVE, none_left])
    assert (answers[0].windows_granted, await page(kube, namespace, ALICE)) == (False, [])


async def test_a_refund_gives_back_every_window(kube: Kube, namespace: str) -> None:
    ledger = quiet(kube, namespace)
    team = WindowLimit(TEAM, "Namespace", 5, timedelta(days=1), "default")
    async with kept(ledger):
        await race([ledger], ["a", "b"], [FIVE, team])
        await ledger.refund("a", [ALICE, TEAM])
    assert [await page(kube, namespace, subject) for subject in (ALICE, TEAM)] == [["b"], ["b"]]


async def test_a_freed_slot_wakes_those_who_wait(kube: Kube, namespace: str) -> None:
    woken: list[bool] = []
    ledger = Ledger(kube, namespace, lambda: woken.append(True))
    async with kept(ledger):
        await race([ledger], ["a"], [FIVE])
        assert (list(ledger.slots()), woken) == (["a"], [])
        await ledger.release_slot("a")
    assert (list(ledger.slots()), woken) == ([], [True])


async def test_another_operators_release_wakes_those_who_wait(kube: Kube, connect: Connect, namespace: str) -> None:
    woken: list[bool] = []
    first = Ledger(kube, namespace, lambda: woken.append(True))
    second = quiet(await connect(Kube), namespace)
    async with kept(first, second):
        await race([first], ["a"], [FIVE])
        await until(lambda: list(second.slots()) == ["a"], "the second operator knows the slot")
        await second.release_slot("a")
        await until(lambda: bool(woken), "the first operator's waiters are woken")


async def test_an_operator_that_starts_anew_knows_every_slot(kube: Kube, connect: Connect, namespace: str) -> None:
    before = quiet(kube, namespace)
    async with kept(before):
        await race([before], ["a", "b"], [FIVE])
    after = quiet(await connect(Kube), namespace)
    async with kept(after):
        assert after.slots() == {"a": entry("a"), "b": entry("b")}


DAMAGE: dict[str, list[dict[str, Any]]] = {
    "an entry without a time": [{"run": "x", "namespace": "n", "name": "m", "uid": "u"}],
    "an entry without a request": [{"run": "x", "time": "2026-11-24T12:00:00Z"}],
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_page_admits_nobody(kube: Kube, namespace: str, damage: str) -> None:
    body = render_usage(usage_name(ALICE), namespace, ALICE, [])
    body["spec"]["entries"] = DAMAGE[damage]
    await kube.create(path_of(GROUP, VERSION, "exportusages", namespace=namespace), body)
    ledger = quiet(kube, namespace)
    async with kept(ledger):
        with pytest.raises(LedgerError, match=r"^ExportUsage user-.* is damaged; nothing is admitted$"):
            await ledger.admit(entry("a"), [FIVE], ROOMY, NOW)


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
    blocked = Ledger(await connect(Kube, "nobody"), namespace, lambda: None)
    blocked.informer = reader.informer
    async with kept(reader):
        with pytest.raises(LedgerError, match="403 Forbidden"):
            await blocked.admit(entry("a"), [FIVE], ROOMY, NOW)


async def test_a_full_page_passes_through_the_watch(kube: Kube, connect: Connect, namespace: str) -> None:
    ledger = quiet(await connect(Kube), namespace)
    entries = [entry(f"{index:020}") for index in range(MAX_ENTRIES)]
    async with kept(ledger):
        body = render_usage(usage_name(ALICE), namespace, ALICE, entries)
        await kube.create(path_of(GROUP, VERSION, "exportusages", namespace=namespace), body)
        await until(lambda: usage_name(ALICE) in ledger.informer.items, "the page is seen")
    assert ledger.informer.items[usage_name(ALICE)].entries == tuple(entries)


async def test_a_page_read_back_is_the_one_that_was_written(kube: Kube, namespace: str) -> None:
    strange = Subject("User", "https://idp.example/ålice?x=1#y")
    body = render_usage(usage_name(strange), namespace, strange, [entry("a")])
    written = await kube.create(path_of(GROUP, VERSION, "exportusages", namespace=namespace), body)
    found = parse_usage(written)
    assert (found.subject, found.entries, found.readable) == (strange, (entry("a"),), True)
