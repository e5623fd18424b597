"""For how long has been due what should be gone by now: Jobs of ended runs, beyond their time to live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from export_operator.domain import times
from export_operator.domain.expiry import wanted_ttl
from export_operator.domain.model import TERMINAL_PHASES, Job
from export_operator.store import Document, Store

EVERY_SECONDS = 30.0
BATCH = 500  # Jobs looked at before others have their turn


class Overdue:
    """`jobs` gives every Job of ours, `tell` is told the seconds, 0 when nothing is overdue."""

    def __init__(
        self,
        store: Store,
        jobs: Callable[[], list[Job]],
        tell: Callable[[float], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._tell = tell
        self._clock = clock

    async def run(self) -> None:
        """Look every half minute until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Look once."""
        now, first = self._clock(), None
        for number, job in enumerate(self._jobs(), start=1):
            moment = due(job, self._store.requests.get(job.request))
            if moment is not None and (first is None or moment < first):
                first = moment
            if number % BATCH == 0:
                await asyncio.sleep(0)
        self._tell(0.0 if first is None else max((now - first).total_seconds(), 0.0))


def due(job: Job, request: Document | None) -> datetime | None:
    """When the Job should be gone; None while nothing says so. A policy may ask for less, so it may be earlier. One
    that remembers objects to be removed with the request stays as long as that does."""
    status, spec = ((request or {}).get(part) or {} for part in ("status", "spec"))
    ended = times.parse(status.get("completionTime"))
    if (
        job.deletes_objects
        or status.get("phase") not in TERMINAL_PHASES
        or status.get("run") != job.run
        or ended is None
    ):
        return None
    return ended + timedelta(seconds=wanted_ttl(spec, status))
