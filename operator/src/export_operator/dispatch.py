"""The dispatcher: who of those that wait gets a slot next. Many are given in one write, and only those are woken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from export_operator.adapters.cells import LedgerError
from export_operator.adapters.ledger import Ledger
from export_operator.domain import slots, times
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.domain.queue import FairQueue, Waiting
from export_operator.domain.slots import GATED, Gate, Occupancy

log = logging.getLogger(__name__)

Entries = tuple[Entry, ...]
Change = Callable[[Entries], tuple[Entries, frozenset[str]]]

BATCH = 100  # slots given in one write
RETRY_SECONDS = 1.0  # after a write that failed
GATE_SECONDS = 5.0  # between two looks at gates, which open by themselves with time
GATHER_SECONDS = 1.0  # for so long a slot that became free may wait for others, for one write gives them all,
GATHERED = 20  # while fewer than one in so many are free: where only a few run, none waits


class Dispatcher:
    """Gives slots in fair order; none before `open`. The queue is in memory, for each request that waits is put there
    again when it is looked at; the slots are in the ledger, whose compare-and-swap decides between two operators."""

    def __init__(self, ledger: Ledger, gate: Gate, wake: Callable[[Key], None], clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._gate = gate
        self._wake = wake
        self._clock = clock
        self._live = Occupancy(gate=gate)
        self._seen: Mapping[str, Entry] | None = None
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._chosen: dict[Key, Waiting] = {}
        self._asking: set[Key] = set()
        self._open = False
        self.queue = FairQueue()

    async def take(self, waiting: Waiting) -> str:
        """Ask for a slot, and wait in the queue for it: "" when the run holds one, else the reason why it does not yet.
        Raises `LedgerError`."""
        if waiting.entry.run not in self._ledger.slots():
            self.queue.put(waiting)
            self._asking.add(waiting.key)
            try:
                await self.dispatch()
            finally:
                self._asking.discard(waiting.key)
        if waiting.entry.run in self._ledger.slots():
            self.queue.remove(waiting.key)
            return ""
        full = self._live.full(waiting.levels)
        return full.reason if full is not None else "ClusterConcurrency"

    def withdraw(self, key: Key) -> None:
        """The request does not wait for a slot any more."""
        self._chosen.pop(key, None)
        self.queue.remove(key)

    async def dispatch(self) -> None:
        """Give every slot that can be given. Raises `LedgerError`; then everybody waits as before."""
        async with self._lock:
            while chosen := self._choose():
                self._chosen = {waiting.key: waiting for waiting in chosen}
                try:
                    held = await self._ledger.change_slots(self._change(chosen))
                except BaseException:
                    self._return(chosen)
                    raise
                for waiting in chosen:
                    if waiting.entry.run in held and waiting.key not in self._asking:
                        self._wake(waiting.key)
                refused = [waiting for waiting in chosen if waiting.entry.run not in held]
                if refused:  # another operator was faster
                    self._return(refused)
                    return

    def slots_changed(self) -> None:
        """Runs have given slots back."""
        self._changed.set()

    def gate_changed(self, subject: Subject) -> None:
        """A source or destination may take more runs."""
        self.queue.free([subject])
        self._changed.set()

    def open(self) -> None:
        """Begin to give slots."""
        self._open = True
        self._changed.set()

    async def run(self) -> None:
        """Give slots as they become free, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATE_SECONDS):
                    await self._changed.wait()
            await self._gather()
            self._changed.clear()
            self.queue.free(subject for subject in self.queue.full() if subject.kind in GATED)
            try:
                await self.dispatch()
            except LedgerError as error:
                log.warning("no slot can be given, again in %.0f s: %s", RETRY_SECONDS, error)
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def _gather(self) -> None:
        """Wait for more slots to become free, if only a small part of them is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                while 0 < self._freed() * GATHERED < len(self._live.entries):
                    self._changed.clear()
                    await self._changed.wait()

    def _freed(self) -> int:
        """How many slots have become free since some were last given."""
        held = self._ledger.slots()
        return 0 if held is self._seen else sum(entry.run not in held for entry in self._live.entries)

    def live(self) -> tuple[Entry, ...]:
        """The runs that hold slots; their times are when they got them."""
        return tuple(self._ledger.slots().values())

    def _choose(self) -> list[Waiting]:
        """The next ones, taken out of the queue, as the slots stand now."""
        held = self._ledger.slots()
        if held is not self._seen:
            self._seen = held
            for entry in self._live.entries:
                if entry.run not in held:
                    self.queue.free(self._live.remove(entry.run))
            for entry in held.values():
                self._live.add(entry)
        chosen: list[Waiting] = []
        while self._open and len(chosen) < BATCH and (waiting := self.queue.take(self._live)) is not None:
            chosen.append(waiting)
        return chosen

    def _change(self, chosen: list[Waiting]) -> Change:
        now = times.whole(self._clock())
        wanted = [(replace(waiting.entry, time=now), waiting.levels) for waiting in chosen]

        def change(entries: Entries) -> tuple[Entries, frozenset[str]]:
            after = slots.grant(entries, wanted, self._gate)
            return after, frozenset(entry.run for entry in after)

        return change

    def _return(self, refused: Iterable[Waiting]) -> None:
        """Their turn came to nothing. Who has withdrawn meanwhile does not come back."""
        for waiting in refused:
            self.queue.free(self._live.remove(waiting.entry.run))
            if waiting.key in self._chosen:
                self.queue.put_back(waiting)
