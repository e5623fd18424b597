"""The sweeper: finds what lies in buckets, and in the tables of fallbacks, to no use, and removes what is ours, past
its grace and needed by nobody.

It is the net below the cleaner, for what no Job tells of any more: Jobs that were deleted by hand, pods that woke up
late, keys that could not delete when it was time. One place after another, page by page, a bounded number of pages and
removals a pass; the next pass goes on where this one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from export_contract.names import ARTIFACT_PARTS, CHECKPOINTS
from export_contract.runspec import FallbackDatabase
from export_operator.adapters.artifact_tables import OWNER, Tables
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.runs import OURS
from export_operator.adapters.storage import DENIED, Bucket, StorageError
from export_operator.cleaner import Opened
from export_operator.domain import sweep
from export_operator.domain.model import GROUP, VERSION, Key, parse_job, parse_named, parse_request
from export_operator.domain.salvage import read_usage
from export_operator.domain.sweep import REMOVED, Finding, Folders, Known
from export_operator.sweep_report import Place, Report, Totals, Where, places

log = logging.getLogger(__name__)

FIRST_SECONDS = 600.0  # after the start, when everything else has settled
RETRY_SECONDS = 600.0
MAX_PAGES = 1000  # of a thousand keys, of one place in one pass
MAX_REMOVED = 10_000  # keys and uploads, of one place in one pass
CLAIM = f"{CHECKPOINTS}/owner.json"
CLAIM_BYTES = 1024
OTHERS = "another installation does. Delete it if none does"

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
                        reached = await _sweep_tables(
                            place, tables, here, owner=owner, report=report, totals=totals, dry_run=dry_run
                        )
                else:
                    sweeping = _Pass(place, here, inner, owner=owner, report=report, totals=totals)
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
        delivered = await self._remembered(found, now)
        for namespace in self._namespaces or ("",):
            async for document in self._listed(path_of(GROUP, VERSION, "exportrequests", namespace=namespace)):
                request = parse_request(document)
                requests.add(request.key)
                destination, run = sweep.delivered(request, self._grace, now) or ("", "")
                if destination in specs:
                    place = Place(destination, "", specs[destination])
                    delivered.setdefault(place.where, {})[run] = request.key
        known = Known(now, self._grace, frozenset(jobs), frozenset(requests), {}, frozenset(self._namespaces))
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


class _Pass:
    """One look at one place."""

    def __init__(
        self, place: Place, known: Known, inner: Sequence[str], *, owner: bytes, report: Report, totals: Totals
    ) -> None:
        self._place = place
        self._known = known
        self._folders = Folders(place.prefix, inner)
        self._owner = owner
        self._report = report
        self._totals = totals
        self._left = MAX_REMOVED
        self._remove = False
        self._delivered: set[str] = set()

    async def run(self, bucket: Bucket, after: str, *, dry_run: bool) -> str:
        """Look at what is behind the key `after`. The answer is where the next pass is to go on; "" when there is
        nothing more. Raises `StorageError`."""
        theirs = await self._claimed_by_others(bucket, dry_run=dry_run)
        if theirs:
            self._report.not_seen(self._place, f"is not swept: {theirs}")
            return ""
        self._remove = not dry_run
        if not after:
            self._totals.clear()
            await self._uploads(bucket)
        reached = await self._objects(bucket, after)
        if not after and not reached:
            for finding in sweep.missing(self._known, self._delivered):
                self._report.tell(self._place, finding, self._totals)
        return reached

    async def _claimed_by_others(self, bucket: Bucket, *, dry_run: bool) -> str:
        """Two clusters may share a bucket by mistake: where one has written who it is, the other does nothing."""
        key = f"{self._place.prefix}{CLAIM}"
        try:
            with contextlib.suppress(_AbsentError):
                return self._strange(key, await _read(bucket, key))
            if dry_run:
                return ""
            await bucket.create(key, self._owner)
            return self._strange(key, await _read(bucket, key))
        except _AbsentError as error:
            return f"the key may not write or read {key!r}: {error}"

    def _strange(self, key: str, claim: bytes) -> str:
        return "" if claim == self._owner else f"{key!r} says that {OTHERS}"

    async def _uploads(self, bucket: Bucket) -> None:
        async for page in bucket.uploads(self._place.prefix):
            for upload in page:
                finding = sweep.judge_upload(upload.key, upload.begun, self._place.prefix, self._known)
                if finding is None or self._left <= 0:
                    continue
                finding = replace(finding, bytes=await bucket.size(upload))
                self._report.tell(self._place, finding, self._totals)
                if self._remove:
                    await bucket.abort(upload)
                    self._removed(finding)

    async def _objects(self, bucket: Bucket, after: str) -> str:
        prefix = self._place.prefix if self._place.data else f"{self._place.prefix}{CHECKPOINTS}/"
        pages, reached = 0, after
        async for page in bucket.pages(prefix, after):
            for stored in page:
                if stored.key.endswith(f"/{CLAIM}") and await bucket.read(stored.key, CLAIM_BYTES) != self._owner:
                    self._folders.exclude(stored.key.removesuffix(CLAIM))
                for folder in self._folders.feed(stored):
                    await self._folder(bucket, folder)
                if not self._folders.open:
                    reached = stored.key
            pages += 1
            if pages >= MAX_PAGES or self._left <= 0:
                return reached
        for folder in self._folders.end():
            await self._folder(bucket, folder)
        return ""

    async def _folder(self, bucket: Bucket, folder: sweep.Folder) -> None:
        if folder.manifest:
            self._delivered.add(folder.of.run)
        finding = sweep.judge(folder, self._known)
        if finding is None:
            return
        self._report.tell(self._place, finding, self._totals)
        if self._remove and finding.kind in REMOVED:
            await bucket.delete(finding.keys)
            self._removed(finding)

    def _removed(self, finding: Finding) -> None:
        self._left -= len(finding.keys)
        self._report.gone(finding, self._totals, len(finding.keys))


async def _sweep_tables(
    place: Place, tables: Tables, known: Known, *, owner: bytes, report: Report, totals: Totals, dry_run: bool
) -> str:
    """One look at the tables of a fallback. The answer is the last run that was seen, "" when that is all.
    Raises `StorageError`, `psycopg.Error`."""
    totals.clear()
    if not await tables.there():
        return ""
    if not dry_run:
        await tables.claim(owner)
    if await tables.claimed() not in {None, owner}:
        report.not_seen(place, f"are not swept: the row of run {OWNER!r} in {ARTIFACT_PARTS} says that {OTHERS}")
        return ""
    loose = await tables.loose(MAX_REMOVED)
    for parts in loose:
        if finding := sweep.judge_parts(parts, known):
            report.tell(place, finding, totals)
            if not dry_run:
                report.gone(finding, totals, await tables.remove(parts.run))
    waiting = await tables.waiting(MAX_REMOVED)
    for artifact in waiting:
        if finding := sweep.judge_artifact(artifact, known):
            report.tell(place, finding, totals)
    unnoted = [each.run for each in loose if each.seen is None and each.run not in known.jobs]
    if unnoted and not dry_run:
        await tables.see(unnoted, known.now)
    seen = [each.run for each in loose], [each.run for each in waiting]
    return next((runs[-1] for runs in seen if len(runs) >= MAX_REMOVED), "")


class _AbsentError(Exception):
    """There is no such object, or the key may not see it: without s3:ListBucket S3 answers the same."""


async def _read(bucket: Bucket, key: str) -> bytes:
    try:
        return await bucket.read(key, CLAIM_BYTES)
    except StorageError as error:
        if error.code not in DENIED | {"NoSuchKey"}:
            raise
        raise _AbsentError(str(error)) from None
