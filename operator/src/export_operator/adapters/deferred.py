"""Which pages of the ledger wait for a write, and until when. They count as written meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from export_operator.adapters.cells import Cell, LedgerError
from export_operator.domain import quota
from export_operator.domain.identity import Subject

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0  # what could not be written
LOOK_SECONDS = 10.0  # between looks at what is due, at most
AT_ONCE = 8  # pages that are written at the end: who takes over waits for it


class Deferred:
    """Settlements that are written with the next change of their page, and by a time of their own if none comes. An
    operator that dies before leaves them to the next one, which sees the same ends. `cell` is a subject's."""

    def __init__(self, cell: Callable[[Subject], Cell]) -> None:
        self._cell = cell
        self._due: dict[Subject, float] = {}
        self._sooner = asyncio.Event()

    def settle(self, subject: Subject, settlement: quota.Settlement, seconds: float) -> bool:
        """Have the subject's page settled within so many seconds; whether that is news."""
        cell, due = self._cell(subject), time.monotonic() + seconds
        if not cell.unwritten:
            self._due.pop(subject, None)  # of what was written along with something else
        if due < self._due.get(subject, due + 1):
            self._due[subject] = due
            if seconds < LOOK_SECONDS:  # so long `wait` sleeps at most
                self._sooner.set()
        return cell.settle(settlement)

    def due_by(self, moment: float) -> list[Subject]:
        """Whose pages are to be written by then, on the monotonic clock, the most urgent first."""
        return sorted((each for each, due in self._due.items() if due <= moment), key=self._due.__getitem__)

    async def write(self, subject: Subject) -> None:
        """Write the subject's page now. What fails is kept for the next time."""
        cell = self._cell(subject)
        self._due[subject] = time.monotonic() + RETRY_SECONDS  # unless all is written
        try:
            if cell.unwritten:
                await cell.flush()
        except LedgerError as error:
            log.warning("settling is put off: %s", error)
        if not cell.unwritten:
            self._due.pop(subject, None)

    async def flush(self) -> None:
        """Write every page now, the most urgent first and several at once."""
        due = self.due_by(float("inf"))
        for first in range(0, len(due), AT_ONCE):
            await asyncio.gather(*map(self.write, due[first : first + AT_ONCE]))

    async def write_due(self) -> None:
        """Write the pages whose time has come, one after the other."""
        self._sooner.clear()
        for subject in self.due_by(time.monotonic()):
            await self.write(subject)

    async def wait(self) -> None:
        """Until something may be due, from the last `write_due` on."""
        now = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min([now + LOOK_SECONDS, *self._due.values()]) - now):
                await self._sooner.wait()
