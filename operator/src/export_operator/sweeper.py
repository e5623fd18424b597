"""The sweeper: finds what lies in buckets, and in the tables of fallbacks, to no use, and removes what is ours, past
its grace and needed by nobody.

It is the net below the cleaner, for what no Job tells of any more: Jobs that were deleted by hand, pods that woke up
late, keys that could not delete when it was time. One place after another, page by page, a bounded number of pages and
removals a pass; the next pass goes on where this one stopped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from export_contract.runspec import FallbackDatabase
from export_operator.adapters.artifact_tables import Tables
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.runs import OURS
from export_operator.adapters.storage import StorageError
from export_operator.cleaner import Opened
from export_operator.domain import sweep
from export_operator.domain.model import GROUP, VERSION, Key, parse_job, parse_named, parse_request
from export_operator.domain.salvage import read_usage
from export_operator.domain.sweep import Known
from export_operator.sweep_pass import BucketPass, look_into_tables
from export_operator.sweep_report import Place, Report, Totals, Where, places

log = logging.getLogger(__name__)

FIRST_SECONDS = 600.0  # after the start, when everything else has settled
RETRY_SECONDS = 600.0

OpenedTables = Callable[[FallbackDatabase, Mapping[str, Any]], AbstractAsyncContextManager[Tables]]


class Sweeper:
    """`opened` gives the bucket of a place, `tables` those of a fallback. Remembers only how far it came in places that
    take several passes."""

    def __init__(
        self,
        kube: Kube,
        run_namespace: str,
        namespaces: Sequence[str],
        opened: Opened,
        tables: OpenedTables,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
    ) -> None:
        self._kube = kube
        self._run_namespace = run_namespace
        self._namespaces = tuple(namespaces)
        self._opened = opened
        self._tables = tables
        self._clock = clock
        self._grace = grace
        self._reached: dict[Where, str] = {}
        self._rounds: dict[Where, Totals] = {}
        self._whole: dict[Where, Totals] = {}

    async def run(self, every: float, told: Callable[[Report], None]) -> None:
        """A pass every so many seconds, until cancelled; 0: none. `told` hears of each."""
        if every <= 0:
            await asyncio.Event().wait()
        pause = min(FIRST_SECONDS, every)
        while True:
            await asyncio.sleep(pause)
            try:
                report = await self.sweep()
            except ApiError as error:
                log.warning("sweep failed, again in %.0f s: %s", RETRY_SECONDS, error)
                pause = RETRY_SECONDS
                continue
            for place, finding in report.findings:
                if finding.kind == "Delivered":
                    continue  # nothing has happened, and there may be many
                log.info(
                    "%s: %s %s of run %s (%d bytes)",
                    place.title,
                    finding.kind,
                    finding.folder,
                    finding.run,
                    finding.bytes,
                )
            for each in (*report.blind, *report.partial):
                log.warning("sweep: %s", each)
            told(report)
            pause = RETRY_SECONDS if report.partial else every

    async def sweep(self, *, dry_run: bool = False) -> Report:
        """One pass over all places. Raises `ApiError`; a place that cannot be searched is named in the report."""
        report = Report()
        found, known, delivered = await self._known()
        owner = await self._owner()
        report.whole = {place.destination for place in found}
        for place in found:
            totals = self._rounds.setdefault(place.where, {})
            here = replace(known, delivered=delivered.get(place.where, {}) if place.data else {})
            inner = [other.prefix for other in found if other.inside(place)]
            after = self._reached.get(place.where, "")
            try:
                if place.tables is not None:
                    async with self._tables(place.tables, place.spec) as tables:
                        reached = await look_into_tables(
                            place, tables, here, owner=owner, report=report, totals=totals, dry_run=dry_run
                        )
                else:
                    sweeping = BucketPass(place, here, inner, owner=owner, report=report, totals=totals)
                    async with self._opened(place.spec) as bucket:
                        reached = await sweeping.run(bucket, after, dry_run=dry_run)
            except StorageError as error:
                report.not_seen(place, f"could not be swept: {error}")
            else:
                if reached:
                    self._reached[place.where] = reached
                    report.unfinished(place, reached)
                else:
                    self._reached.pop(place.where, None)
                    self._whole[place.where] = self._rounds.pop(place.where)
            report.add(place, self._whole.get(place.where) or self._rounds.get(place.where) or {})
        return report

    async def _known(self) -> tuple[list[Place], Known, dict[Where, dict[str, Key]]]:
        """The places to look at, what is known of runs, and what requests and tombstones tell of being delivered
        where."""
        now = self._clock()
        specs = {
            each.name: each.spec
            for each in [
                parse_named(each) async for each in self._listed(path_of(GROUP, VERSION, "exportdestinations"))
            ]
        }
        every = [place for name, spec in sorted(specs.items()) for place in places(name, spec)]
        found = list({place.where: place for place in reversed(every)}.values())
        jobs = {
            parse_job(document).run
            async for document in self._listed(path_of("batch", "v1", "jobs", namespace=self._run_namespace), OURS)
        }
        requests: set[Key] = set()
        unread: set[str] = set()
        delivered = await self._remembered(found, now)
        for namespace in self._namespaces or ("",):
            try:
                async for document in self._listed(path_of(GROUP, VERSION, "exportrequests", namespace=namespace)):
                    request = parse_request(document)
                    requests.add(request.key)
                    destination, run = sweep.delivered(request, self._grace, now) or ("", "")
                    if destination in specs:
                        place = Place(destination, "", specs[destination])
                        delivered.setdefault(place.where, {})[run] = request.key
            except ApiError as error:
                if error.status != 403 or not namespace:
                    raise
                log.warning("requests of namespace %s cannot be listed: %s", namespace, error)
                unread.add(namespace)
        served = frozenset(self._namespaces) - unread if self._namespaces else None
        known = Known(now, self._grace, frozenset(jobs), frozenset(requests), {}, served)
        return found, known, delivered

    async def _remembered(self, found: Sequence[Place], now: datetime) -> dict[Where, dict[str, Key]]:
        """What tombstones tell of. They name no destination, so only what can be in one place alone counts."""
        delivered: dict[Where, dict[str, Key]] = {}
        async for document in self._listed(path_of(GROUP, VERSION, "exportusages", namespace=self._run_namespace)):
            for stone in read_usage(document).page.tombstones.stones:
                uri = sweep.remembered(stone, self._grace, now)
                holding = [place for place in found if uri and place.holds(uri)]
                innermost = [each for each in holding if not any(other.inside(each) for other in holding)]
                if uri and len(innermost) == 1:
                    delivered.setdefault(innermost[0].where, {})[sweep.run_of(uri)] = stone.request
        return delivered

    async def _listed(self, path: str, selector: str = "") -> AsyncIterator[dict[str, Any]]:
        async for page in self._kube.pages(path, **({"labelSelector": selector} if selector else {})):
            for document in page.get("items") or ():
                yield document

    async def _owner(self) -> bytes:
        """What this installation writes where it may remove things: two clusters can share a bucket by mistake."""
        found = await self._kube.get(path_of("", "v1", "namespaces", self._run_namespace))
        return json.dumps({"runNamespaceUID": found["metadata"]["uid"]}).encode()
