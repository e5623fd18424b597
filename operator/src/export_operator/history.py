"""Sees to it that each run that ends gets its row in the history, once, whatever is away or killed meanwhile.

What a row is made of stands in the cluster: in the status of the run's request and, where that is gone, in its Job. So
an outage of the table blocks nothing. A request whose time to live is over stays for a while until its row is written;
what would vanish unwritten all the same (somebody deletes a request, a new run takes its status over, a Job goes) is
put into an object beside the Jobs first. Who begins to lead writes everything anew: a row that is there already stays
as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Protocol

from export_contract import names
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.history import HistoryError, HistoryTable
from export_operator.adapters.kept import FullError, Kept
from export_operator.adapters.kube import ApiError
from export_operator.adapters.unwritten import Unwritten
from export_operator.domain.evidence import run_spec
from export_operator.domain.history import Row, ended_run, row_of, row_of_job
from export_operator.domain.model import EPOCH, Job, Key
from export_operator.logs import about

log = logging.getLogger(__name__)

Document = Mapping[str, Any]

LOOK_SECONDS = 2.0  # between two looks; what ends meanwhile shares a call
BATCH = 500  # rows of a call
RETRIES = (timedelta(seconds=2), timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=60))
FORGET_EVERY = timedelta(hours=1)
REMEMBERED = 50_000  # runs known to be written; of others PostgreSQL finds out
MAX_ABSENT = 1_000  # of what a standby remembers and nothing else tells of


class Recorder(Protocol):
    """What others ask of the history before they let go of what tells of a run."""

    def unwritten(self, run: str) -> bool:
        """The run has ended, and nobody knows its row to be in the table."""

    async def secure(self, run: str) -> None:
        """Have the row written, or kept otherwise, for what tells of the run is about to go. Raises `ApiError`."""

    async def part_with(self, job: Job) -> None:
        """The same for a run whose Job alone tells of it. Raises `ApiError`."""


class NoHistory:
    """Nothing is recorded."""

    def unwritten(self, _: str) -> bool:
        return False

    async def secure(self, _: str) -> None:
        return

    async def part_with(self, _: Job) -> None:
        return


class History:
    """`backlog` is told how many rows wait, after each look. `clock` gives the present moment in UTC."""

    def __init__(
        self,
        table: HistoryTable,
        unwritten: Unwritten,
        cluster: Cluster,
        clock: Callable[[], datetime],
        backlog: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._table = table
        self._unwritten = unwritten
        self._cluster = cluster
        self._clock = clock
        self._backlog = backlog
        self._leading = False
        self._pending: dict[str, Document | Row] = {}
        """By run: documents of requests, and rows. In order, so that what came first is written first."""
        self._refused: dict[str, Row] = {}
        """PostgreSQL does not take them; the next process tries again."""
        self._absent: dict[str, None] = {}
        """Runs of both that nothing in the cluster tells of any more, but perhaps that object."""
        self._present: dict[Key, str] = {}
        self._written: dict[str, None] = {}
        self._held: Kept[Mapping[str, Row]] | None = None
        self._writing = asyncio.Lock()
        self._keeping = asyncio.Lock()
        self._failures = 0
        self._again = EPOCH
        self._forget_at = EPOCH
        self._checked = False
        self._full = False

    # What the store tells, to leader and standby.

    def recorded(self, document: Document) -> None:
        """A request says something new."""
        metadata = document["metadata"]
        key, run = Key(metadata["namespace"], metadata["name"]), ended_run(document)
        if self._present.get(key) != run:
            self.gone(key)
        if run:
            self._present[key] = run
            if run not in self._written and run not in self._refused:
                self._pending.setdefault(run, document)

    def gone(self, key: Key) -> None:
        """The request is not there any more, or its status tells of another run."""
        run = self._present.pop(key, "")
        if run in self._pending or run in self._refused:
            self._absent[run] = None
        if not self._leading and len(self._absent) > MAX_ABSENT:
            oldest = next(iter(self._absent))
            del self._absent[oldest]
            self._pending.pop(oldest, None)

    # What others ask (`Recorder`).

    def unwritten(self, run: str) -> bool:
        return run in self._pending or run in self._refused

    async def secure(self, run: str) -> None:
        if not self.unwritten(run):
            return
        await self._write()
        if self.unwritten(run):
            self._absent[run] = None
            await self._keep()

    async def part_with(self, job: Job) -> None:
        await self._load()
        if job.run in self._written:
            return
        if not self.unwritten(job.run):
            document = await self._cluster.job(job.name)
            row = None
            if document is not None:
                row = row_of_job(document, await self._cluster.pods_of(job.run), self._clock())
            if row is None:
                return
            self._pending[job.run] = row
        await self.secure(job.run)

    # What the leader does.

    async def run(self) -> None:
        """Write what is pending, until cancelled. Whatever goes wrong here, exports go on."""
        self._leading = True
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("history: a bug keeps rows from being written")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once: write or, where the table is away, keep what nothing else tells of; and forget what is too old."""
        await self._try(self._load)
        await self._write()
        if self._failures or self._refused or (self._held is not None and self._held.value):
            await self._try(self._keep)
        self._backlog(len(self._pending) + len(self._refused))

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ApiError as error:
            log.warning("rows of the history that wait, again in a few seconds: %s", error)

    async def _write(self) -> None:
        """What is pending, unless the table was found away a moment ago."""
        async with self._writing:
            if self._clock() < self._again:
                return
            try:
                await self._flush()
                if self._clock() >= self._forget_at:
                    await self._forget()
                    self._forget_at = self._clock() + FORGET_EVERY
            except HistoryError as error:
                pause = RETRIES[min(self._failures, len(RETRIES) - 1)]
                self._failures += 1
                self._again = self._clock() + pause
                waiting = len(self._pending) + len(self._refused)
                log.warning("history: %d rows wait, again in %.0f s: %s", waiting, pause.total_seconds(), error)
            else:
                self._failures = 0

    async def _flush(self) -> None:
        """Raises `HistoryError`; then nothing is lost."""
        while self._pending:
            taken = dict(islice(self._pending.items(), BATCH))
            rows = [await self._whole(_row(each)) for each in taken.values()]
            refused = await self._table.write(rows)
            for run, row in zip(taken, rows, strict=True):
                self._pending.pop(run, None)
                if run in refused:
                    log.error(
                        "history: PostgreSQL refuses the row of run %s: %s",
                        run,
                        refused[run],
                        extra=about(Key(row["namespace"], row["request"]), run),
                    )
                    self._refused[run] = row
                else:
                    self._absent.pop(run, None)
                    self._written[run] = None
        for run in [*islice(self._written, max(len(self._written) - REMEMBERED, 0))]:
            del self._written[run]

    async def _whole(self, row: Row) -> Row:
        """With the columns that were too many for a status: the run's Job has them, as long as it is there."""
        if "columns" in row or row["phase"] == "Rejected" or "adopted_run" in row:
            return row
        with suppress(ApiError):
            document = await self._cluster.job(names.job_name(row["run"]))
            spec = None if document is None else run_spec(document)
            if spec is not None:
                return {**row, "columns": list(spec.source.columns)}
        return row

    async def _forget(self) -> None:
        if not self._checked:
            self._checked = True
            if await self._table.unguarded():
                log.warning(
                    "history: the operator's login may change or delete what is written: give it the role of the"
                    " writer alone (docs/operations/history.md)"
                )
        while number := await self._table.forget():
            log.info("history: %d rows were kept long enough, and are deleted", number)

    async def _load(self) -> None:
        """What is kept there is pending too. Raises `ApiError`."""
        async with self._keeping:
            if self._held is None:
                self._adopt(await self._unwritten.load())

    def _adopt(self, held: Kept[Mapping[str, Row]]) -> None:
        self._held = held
        for run, row in (held.value or {}).items():
            if run not in self._written and not self.unwritten(run):
                self._pending[run] = row
                self._absent[run] = None

    async def _keep(self) -> None:
        """Bring the kept rows up to date: all that nothing else tells of is among them. Raises `ApiError`."""
        await self._load()
        async with self._keeping:
            assert self._held is not None, "it has been read"
            tellers = {run: self._pending.get(run) or self._refused.get(run) for run in self._absent}
            wanted = {run: _row(teller) for run, teller in tellers.items() if teller is not None}
            if set(wanted) == set(self._held.value or {}):
                return
            try:
                self._held = await self._unwritten.save(wanted, self._held.version)
                self._full = False
            except FullError as error:
                if not self._full:
                    log.warning("history: %s: what is deleted from now on is lost if the operator ends", error)
                self._full = True
            except ApiError as error:
                if error.status in {404, 409}:
                    self._adopt(await self._unwritten.load())
                raise


def _row(teller: Document | Row) -> Row:
    return row_of(teller) if "metadata" in teller else teller
