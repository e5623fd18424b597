"""Counts the runs that end, each once whatever is restarted meanwhile, into totals that are kept in the cluster.

What is counted is what stands in a request's status, not what this process did: an end that was written by an operator
that died a moment later is found there by the next one. A standby shows what the leader has kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from export_operator.adapters.kept import Kept
from export_operator.adapters.kube import ApiError
from export_operator.adapters.totals import TotalsStore
from export_operator.domain.model import TERMINAL_PHASES, Job, Key, Named, Pod
from export_operator.domain.totals import End, Fact, Totals, answer_of, end_of, minute_of, moves_of
from export_operator.store import DOWNLOADS, Store

log = logging.getLogger(__name__)

Document = Mapping[str, Any]

SAVE_SECONDS = 5.0  # between two writes; what ends meanwhile shares one
FOLLOW_SECONDS = 15.0  # between two reads of a standby
REMEMBERED = timedelta(minutes=10)
"""For which the totals tell run by run what is in them: more than clocks of two nodes differ."""


class Counting:
    """`jobs` gives every Job of ours, `show` is told the totals as they are kept."""

    def __init__(
        self,
        kept: TotalsStore,
        store: Store,
        jobs: Callable[[], list[Job]],
        show: Callable[[Totals], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._place = kept
        self._store = store
        self._jobs = jobs
        self._show = show
        self._clock = clock
        self._kept: Kept[Totals] | None = None
        self._leading = False
        self._ended: dict[str, tuple[Document | Fact, bool]] = {}
        """Documents of runs that have ended, and facts, that may not be in the totals yet; whether the leader saw the
        end come."""

    def recorded(self, before: Document | None, after: Document) -> None:
        """A request says something new. Its end is taken note of here: it may be deleted before it is counted."""
        status = after.get("status") or {}
        if status.get("phase") not in TERMINAL_PHASES or not status.get("run"):
            return
        run, known = str(status["run"]), (before or {}).get("status") or {}
        at_rest = before is None or (known.get("phase") in TERMINAL_PHASES and known.get("run") == run)
        if at_rest:
            self._ended.setdefault(run, (after, False))
        else:
            self._ended[run] = (after, self._leading)

    def answered(self, download: Key) -> None:
        """An ExportDownload says something new."""
        document = self._store.beside[DOWNLOADS].get(download)
        self._note(None if document is None else answer_of(document))

    def pod_changed(self, _: Pod | None, pod: Pod | None) -> None:
        """A pod that redelivers says something new."""
        self._note(None if pod is None else moves_of(pod))

    def _note(self, fact: Fact | None) -> None:
        if fact is not None:
            self._ended.setdefault(fact.run, (fact, False))

    async def run(self) -> None:
        """As the leader: count and keep, until cancelled."""
        self._leading = True
        self._kept = None
        try:
            while True:
                await self._try(self.save)
                await asyncio.sleep(SAVE_SECONDS)
        finally:
            self._leading = False

    async def follow(self) -> None:
        """As a standby: show what the leader keeps, until cancelled."""
        while True:
            if not self._leading:
                await self._try(self.load)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def load(self) -> None:
        """Read what is kept, and forget what is in it. Raises `ApiError`."""
        leading = self._leading
        kept = await self._place.load()
        if leading != self._leading:
            return  # a leader knows better than what was asked for before: no counter ever falls
        self._kept = kept
        if kept.value is not None:
            self._show(kept.value)
            self._drop_known(kept.value)

    async def save(self) -> None:
        """Add what has ended, and keep it. Raises `ApiError`; then nothing is lost, and the next call does it."""
        if self._kept is None:
            await self.load()
        assert self._kept is not None
        if not self._ended and self._kept.value is not None:
            return
        now = self._clock()
        # Where nothing is kept it begins now: from zero, as every counter does.
        totals = self._kept.value.copy() if self._kept.value is not None else Totals(minute_of(now))
        policies = self._store.catalogue().policies
        taken = dict(self._ended)
        ends = [end for document, came in taken.values() if (end := self._missing(document, came, totals, policies))]
        totals.forget(minute_of(min([now - REMEMBERED, *unrecorded(self._jobs(), self._store)])))
        for end in ends:
            totals.add(end)
        if ends or self._kept.value is None:
            try:
                self._kept = await self._place.save(totals, self._kept.version)
            except ApiError as error:
                if error.status in {404, 409}:
                    self._kept = await self._reread(self._kept)
                raise
            self._show(totals)
        for run, noted in taken.items():
            if self._ended.get(run) is noted:
                del self._ended[run]

    async def _reread(self, known: Kept[Totals]) -> Kept[Totals]:
        """Somebody else wrote, or took it away: what was known is written anew then."""
        found = await self._place.load()
        if found.value is None:
            return Kept(found.version, known.value)
        self._show(found.value)
        return found

    def _drop_known(self, totals: Totals) -> None:
        policies = self._store.catalogue().policies
        for run, (document, came) in list(self._ended.items()):
            if self._missing(document, came, totals, policies) is None:
                del self._ended[run]

    @staticmethod
    def _missing(
        noted: Document | Fact, came: bool, totals: Totals, policies: Mapping[str, Named]
    ) -> End | Fact | None:
        """What is noted, if it is not in the totals. One that the leader saw come counts however long ago it was, for
        it was in none before."""
        end = noted if isinstance(noted, Fact) else end_of(noted, policies)
        if end is None or (totals.holds(end) if came else totals.knows(end)):
            return None
        return end

    async def _try(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except ApiError as error:
            log.warning("totals of ended runs, again in a few seconds: %s", error)


def unrecorded(jobs: Iterable[Job], store: Store) -> list[datetime]:
    """When Jobs ended whose requests do not say so yet."""
    found = []
    for job in jobs:
        document = store.requests.get(job.request)
        if job.terminal and job.finished is not None and document is not None:
            status = document.get("status") or {}
            if status.get("run") == job.run and status.get("phase") not in TERMINAL_PHASES:
                found.append(job.finished)
    return found
