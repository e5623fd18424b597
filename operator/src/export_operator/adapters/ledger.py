"""The ledger: ExportUsage objects in the run namespace, one a subject and one for all slots."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from export_operator.adapters.cells import Cell, LedgerError
from export_operator.adapters.deferred import Deferred
from export_operator.adapters.informer import Informer
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.domain import quota
from export_operator.domain.identity import Subject
from export_operator.domain.model import GROUP, VERSION, Key
from export_operator.domain.pages import Entry, Page, State
from export_operator.domain.tombstones import Tombstone, Tombstones
from export_operator.domain.usage import SLOTS, Usage, parse_usage, usage_name

R = TypeVar("R")
log = logging.getLogger(__name__)

# How long what counts already may wait for a write that is needed anyway:
FLUSH_SECONDS = 60.0  # a settlement, for each page costs a write of its own
CROWD_SECONDS = quota.SETTLED_WITHIN.total_seconds()  # where other runs of the page are under way: they end as well
SLOT_SECONDS = 10.0  # slots that are free, for one write is for all of them
SOON_SECONDS = 0.2  # a settlement that something waits for: many runs end at once
PRUNE_SECONDS = 3600.0  # between looks for objects in which nothing counts any more

Entries = tuple[Entry, ...]


class Ledger:
    """Windows and slots of every subject. What is over counts as such at once for whoever is decided on; its write is
    `deferred`. `slots_changed` is told when runs have given slots back, `window_freed` the subject of a window in which
    runs were settled or gave places back, `unreadable` how many objects cannot be read, `buried` whose tombstone was
    written along with something else."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        slots_changed: Callable[[], None],
        window_freed: Callable[[Subject], None] = lambda _: None,
        unreadable: Callable[[int], None] = lambda _: None,
        *,
        buried: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._path = path_of(GROUP, VERSION, "exportusages", namespace=namespace)
        self._cells: dict[Subject, Cell] = {}
        self._slots_changed = slots_changed
        self._window_freed = window_freed
        self._unreadable = unreadable
        self._buried = buried
        self._slots: dict[str, Entry] = {}
        self._slots_of: dict[Key, list[Entry]] = {}
        self._faulty: set[str] = set()
        self._open: dict[str, dict[Subject, Entry]] = {}
        self._open_runs: dict[Key, set[str]] = {}
        self._along: dict[Key, Cell] = {}
        self.deferred = Deferred(self._cell)
        self.informer = Informer(kube, self._path, parse_usage, self._changed)

    def slots(self) -> Mapping[str, Entry]:
        """Entries of the runs that hold a slot, by run."""
        return self._slots

    def slots_of(self, key: Key) -> Sequence[Entry]:
        """Entries of the runs of a request that hold a slot."""
        return self._slots_of.get(key, ())

    def page(self, subject: Subject) -> Page | None:
        """What the subject has used; None when there is no such object or it cannot be read."""
        usage = self.informer.items.get(usage_name(subject))
        if usage is None or usage.fault:
            return None
        cell = self._cells.get(subject)
        return usage.page if cell is None else cell.page()

    def subjects(self) -> list[Subject]:
        """Those who have a page that can be read."""
        return [usage.subject for usage in self.informer.items.values() if not usage.fault]

    def entry(self, subject: Subject, run: str) -> Entry | None:
        page = self.page(subject)
        return None if page is None else page.find(run)

    def has_run(self, subject: Subject, request: Key) -> bool:
        """A run of a request of this name counts, or counted of late, against the subject."""
        page = self.page(subject)
        return page is not None and any(entry.request == request for entry in page.entries)

    def tombstones(self, subject: Subject) -> Tombstones:
        """Of requests of the subject. Where there is no page, or none that can be read, nobody knows what there was."""
        page = self.page(subject)
        return Tombstones(forgotten=True) if page is None else page.tombstones

    async def bury(self, subject: Subject, stone: Tombstone, now: datetime) -> None:
        """Write a tombstone down. Raises `LedgerError`."""
        await self._cell(subject).change(lambda page: (_buried(page, stone, now), None))

    def bury_along(self, subject: Subject, stone: Tombstone, now: datetime) -> None:
        """Write it down if anything else of the subject's page is written before `forget`."""
        cell = self._along[stone.request] = self._cell(subject)
        cell.along[stone.request] = lambda page: _buried(page, stone, now)

    def forget(self, request: Key) -> None:
        """The request is looked at anew: whether it shall have a tombstone is open again."""
        if (cell := self._along.pop(request, None)) is not None:
            cell.along.pop(request, None)

    async def unbury(self, subject: Subject, request: Key) -> None:
        """Forget the tombstone of requests of this name. Raises `LedgerError`."""
        await self._cell(subject).change(lambda page: (replace(page, tombstones=page.tombstones.drop(request)), None))

    def unsettled(self, run: str) -> Mapping[Subject, Entry]:
        """The places that the run holds in windows and that are not written as settled, by subject."""
        return self._open.get(run, {})

    def unsettled_runs(self, key: Key) -> Sequence[str]:
        """The runs of a request that hold such places."""
        return sorted(self._open_runs.get(key, ()))

    def requests(self) -> set[Key]:
        """Every request of which a slot or an unsettled place speaks."""
        return {*self._open_runs, *self._slots_of}

    async def reserve(
        self, entry: Entry, demand: quota.Demand, limits: Sequence[quota.WindowLimit], now: datetime
    ) -> quota.Admission:
        """Reserve every window in order. A window without room releases the earlier ones that this call reserved; one
        that is known to have none is found before anything is reserved, so that whoever waits writes nothing, nor does
        whoever has its place: settlements are not written for its sake. A run that one of them has as over is refused.
        Raises `LedgerError`."""
        known: list[quota.Reservation] = []
        for limit in limits:
            reservation = quota.reserve(self._cell(limit.subject).page(), entry, demand, limit, now)
            known.append(reservation)
            over = reservation.entry.state is not State.RESERVED
            if over or not reservation.granted:
                return quota.Admission(False, tuple(state for each in known for state in each.states), over=over)
        states: list[quota.WindowState] = []
        fresh: list[Subject] = []
        most: dict[str, list[int]] = {"rows": [], "bytes": []}
        for limit, stands in zip(limits, known, strict=True):
            cell = self._cell(limit.subject)
            reservation = await cell.change(_reserve(entry, demand, limit, now)) if stands.changed else stands
            states.extend(reservation.states)
            if not reservation.granted:
                for subject in fresh:
                    await self._cell(subject).change(_give_back(entry.run))
                return quota.Admission(False, tuple(states))
            if reservation.changed:
                fresh.append(limit.subject)
            for resource, shares in most.items():
                if limit.of(resource) is not None:
                    shares.append(getattr(reservation.entry, resource))
        return quota.Admission(
            True,
            tuple(states),
            max_rows=min(most["rows"], default=None),
            max_bytes=min(most["bytes"], default=None),
            first=0 < len(fresh) == len(limits),
        )

    async def give_back(self, run: str) -> None:
        """Give back the windows of a run that never had a Job. Raises `LedgerError`."""
        for subject in sorted(self.unsettled(run)):
            await self._cell(subject).change(_give_back(run))

    def settle(self, settlement: quota.Settlement, *, soon: bool = False) -> None:
        """Settle the run's windows. It is written with the next change of each, `soon` because something waits until it
        is, or within `FLUSH_SECONDS`; within `CROWD_SECONDS` where other runs hold places."""
        for subject in self.unsettled(settlement.run):
            seconds = SOON_SECONDS if soon else self._patience(subject, settlement.run)
            if self.deferred.settle(subject, settlement, seconds):
                self._window_freed(subject)

    def _patience(self, subject: Subject, run: str) -> float:
        page = self.page(subject)
        others = page is not None and any(each.state is State.RESERVED and each.run != run for each in page.entries)
        return CROWD_SECONDS if others else FLUSH_SECONDS

    def free_slot(self, run: str) -> None:
        """The run does not need its slot any more: others may have it. It is written with the next change of the slots,
        or within `SLOT_SECONDS`."""
        if run in self._slots and self.deferred.settle(SLOTS, quota.Settlement(run), SLOT_SECONDS):
            self._look_at_slots()

    async def run(self, clock: Callable[[], datetime]) -> None:
        """Write what is due until cancelled, and now and then remove what counts no longer."""
        pruned = clock()
        while True:
            await self.deferred.write_due()
            if (clock() - pruned).total_seconds() > PRUNE_SECONDS:
                pruned = clock()
                await self.prune(pruned)
            await self.deferred.wait()

    async def prune(self, now: datetime) -> None:
        """Remove the objects of subjects that have used nothing for as long as the longest window, and of whom nothing
        is remembered."""
        for usage in list(self.informer.items.values()):
            if usage.subject != SLOTS and not usage.fault and usage.page.over(now):
                try:
                    await self._cell(usage.subject).remove(now)
                except ApiError as error:
                    log.warning("ExportUsage %s is left for the next time: %s", usage.name, error)

    async def change_slots(self, change: Callable[[Entries], tuple[Entries, R]]) -> R:
        """Change the entries of the live runs, durably, and return the change's answer. Raises `LedgerError`."""

        def on_page(page: Page) -> tuple[Page, R]:
            entries, answer = change(page.entries)
            return Page(entries), answer

        try:
            return await self._cell(SLOTS).change(on_page)
        finally:
            self._look_at_slots()  # a watch may have told of the write before its answer came

    def _cell(self, subject: Subject) -> Cell:
        cell = self._cells.get(subject)
        if cell is None:
            settle = _without if subject == SLOTS else quota.settle
            given = (self._kube, self._path, self._namespace, subject, self.informer)
            cell = self._cells[subject] = Cell(*given, settle=settle, went_along=self._buried)
        return cell

    def _changed(self, before: Usage | None, after: Usage | None) -> None:
        name = (after or before).name  # type: ignore[union-attr]
        known = len(self._faulty)
        if after is not None and after.fault:
            self._faulty.add(name)
            log.error("ExportUsage %s cannot be read, and admits nobody: %s", name, after.fault)
        else:
            self._faulty.discard(name)
        if len(self._faulty) != known:
            self._unreadable(len(self._faulty))
        if name == usage_name(SLOTS):
            self._look_at_slots()
            return
        freed_runs = self._index(before, after)
        if before is not None and freed_runs:
            self._window_freed(before.subject)

    def _look_at_slots(self) -> None:
        """Who holds one, by what is written and what is about to be. Where that cannot be read it is whoever held one
        before."""
        try:
            held = {entry.run: entry for entry in self._cell(SLOTS).page().entries}
        except LedgerError:
            return
        if held == self._slots:
            return
        before, self._slots = self._slots, held
        self._slots_of = {}
        for entry in held.values():
            self._slots_of.setdefault(entry.request, []).append(entry)
        if before.keys() - held.keys():
            self._slots_changed()

    def _index(self, before: Usage | None, after: Usage | None) -> set[str]:
        """Bring the unsettled places up to date; the runs that hold one here no longer."""
        gone = {} if before is None else {entry.run: entry for entry in _unsettled(before)}
        held = {} if after is None else {entry.run: entry for entry in _unsettled(after)}
        for run, entry in gone.items():
            assert before is not None
            places = self._open[run]
            del places[before.subject]
            if not places:
                del self._open[run]
                runs = self._open_runs[entry.request]
                runs.discard(run)
                if not runs:
                    del self._open_runs[entry.request]
        for run, entry in held.items():
            assert after is not None
            self._open.setdefault(run, {})[after.subject] = entry
            self._open_runs.setdefault(entry.request, set()).add(run)
        return gone.keys() - held.keys()


def _unsettled(usage: Usage) -> list[Entry]:
    return [entry for entry in usage.page.entries if entry.state is State.RESERVED]


def _reserve(
    entry: Entry, demand: quota.Demand, limit: quota.WindowLimit, now: datetime
) -> Callable[[Page], tuple[Page, quota.Reservation]]:
    def change(page: Page) -> tuple[Page, quota.Reservation]:
        reservation = quota.reserve(page, entry, demand, limit, now)
        return reservation.page, reservation

    return change


def _without(page: Page, over: Mapping[str, quota.Settlement]) -> Page:
    """The slots without those of runs that are over."""
    return Page(tuple(entry for entry in page.entries if entry.run not in over))


def _buried(page: Page, stone: Tombstone, now: datetime) -> Page:
    return replace(page, tombstones=page.tombstones.put(stone, now))


def _give_back(run: str) -> Callable[[Page], tuple[Page, None]]:
    return lambda page: (quota.give_back(page, run), None)
