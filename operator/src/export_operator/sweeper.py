"""The sweeper: finds what lies in the buckets to no use, and removes what is ours, past its grace and needed by nobody.

It is the net below the cleaner, for what no Job tells of any more: Jobs that were deleted by hand, pods that woke up
late, keys that could not delete when it was time. One place after another, page by page, a bounded number of pages and
removals a pass; the next pass goes on where this one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from export_contract.names import CHECKPOINTS
from export_operator.adapters.kube import ApiError, Kube, path_of
from export_operator.adapters.runs import OURS
from export_operator.adapters.storage import DENIED, Bucket, StorageError
from export_operator.adapters.witnesses import places
from export_operator.cleaner import Opened
from export_operator.domain import sweep
from export_operator.domain.model import GROUP, VERSION, Key, parse_job, parse_named, parse_request
from export_operator.domain.sweep import REMOVED, Finding, Folders, Kind, Known

log = logging.getLogger(__name__)

FIRST_SECONDS = 600.0  # after the start, when everything else has settled
RETRY_SECONDS = 600.0
MAX_PAGES = 1000  # of a thousand keys, of one place in one pass
MAX_REMOVED = 10_000  # keys and uploads, of one place in one pass
MAX_TOLD = 1000  # findings kept to be told; all are counted
CLAIM = f"{CHECKPOINTS}/owner.json"
CLAIM_BYTES = 1024

Where = tuple[str, str, str]
"""Endpoint, bucket and prefix."""


@dataclass(frozen=True, slots=True)
class Place:
    """A prefix in a bucket, to be looked at once, whatever destinations share it. `spec` has a destination's fields."""

    destination: str
    title: str
    spec: Mapping[str, Any]
    data: bool = True

    @property
    def prefix(self) -> str:
        """With a slash at its end, unless it is empty."""
        given = (self.spec.get("prefix") or "").strip("/")
        return f"{given}/" if given else ""

    @property
    def where(self) -> Where:
        return (self.spec.get("endpoint") or "", self.spec["bucket"], self.prefix)

    def inside(self, other: Place) -> bool:
        """Of the same bucket, under the other's prefix."""
        return (
            self.where[:2] == other.where[:2] and self.prefix != other.prefix and self.prefix.startswith(other.prefix)
        )


@dataclass
class Total:
    """How many findings of a kind there are, their bytes, and how many of these went."""

    count: int = 0
    bytes: int = 0
    removed: int = 0


Totals = dict[Kind, Total]


@dataclass
class Report:
    """What a pass has found. `totals` are of each destination's last whole round; `whole` are the destinations that
    were looked at to the end, `blind` says where that could not be, `partial` where there is more than a pass takes."""

    findings: list[tuple[Place, Finding]] = field(default_factory=list)
    totals: dict[str, Totals] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    removed: int = 0
    removed_bytes: int = 0
    blind: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)

    def not_seen(self, place: Place, why: str) -> None:
        self.whole.discard(place.destination)
        self.blind.append(f"{place.title} {why}")

    @property
    def orphaned(self) -> dict[tuple[str, str], int]:
        """Bytes that are there to no use and were not removed, by destination and kind."""
        return {
            (destination, kind): total.bytes - total.removed
            for destination, totals in self.totals.items()
            for kind, total in totals.items()
        }


class Sweeper:
    """`opened` gives the bucket of a place. Remembers only how far it came in places that take
    several passes."""

    def __init__(
        self,
        kube: Kube,
        run_namespace: str,
        namespaces: Sequence[str],
        opened: Opened,
        *,
        clock: Callable[[], datetime],
        grace: timedelta,
    ) -> None:
        self._kube = kube
        self._run_namespace = run_namespace
        self._namespaces = tuple(namespaces)
        self._opened = opened
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
        """One pass over all places. Raises `ApiError`; a bucket that cannot be searched is named in the report."""
        report = Report()
        found, known, delivered = await self._known()
        owner = await self._owner()
        report.whole = {place.destination for place in found}
        for place in found:
            sweeping = _Pass(
                place,
                replace(known, delivered=delivered.get(place.where, {}) if place.data else {}),
                [other.prefix for other in found if other.inside(place)],
                owner=owner,
                report=report,
                totals=self._rounds.setdefault(place.where, {}),
            )
            try:
                async with self._opened(place.spec) as bucket:
                    reached = await sweeping.run(bucket, self._reached.get(place.where, ""), dry_run=dry_run)
            except StorageError as error:
                report.not_seen(place, f"could not be swept: {error}")
            else:
                if reached:
                    self._reached[place.where] = reached
                    report.whole.discard(place.destination)
                    report.partial.append(f"{place.title} has more than one pass takes: it was swept up to {reached!r}")
                else:
                    self._reached.pop(place.where, None)
                    self._whole[place.where] = self._rounds.pop(place.where)
            for kind, total in (self._whole.get(place.where) or self._rounds.get(place.where) or {}).items():
                of = report.totals.setdefault(place.destination, {}).setdefault(kind, Total())
                of.count, of.bytes = of.count + total.count, of.bytes + total.bytes
                of.removed += total.removed
        return report

    async def _known(self) -> tuple[list[Place], Known, dict[Where, dict[str, Key]]]:
        """The places to look at, what is known of runs, and what requests tell of being delivered where."""
        now = self._clock()
        specs = {
            each.name: each.spec
            for each in [
                parse_named(each) async for each in self._listed(path_of(GROUP, VERSION, "exportdestinations"))
            ]
        }
        jobs = {
            parse_job(document).run
            async for document in self._listed(path_of("batch", "v1", "jobs", namespace=self._run_namespace), OURS)
        }
        requests: set[Key] = set()
        delivered: dict[Where, dict[str, Key]] = {}
        for namespace in self._namespaces or ("",):
            async for document in self._listed(path_of(GROUP, VERSION, "exportrequests", namespace=namespace)):
                request = parse_request(document)
                requests.add(request.key)
                destination, run = sweep.delivered(request, self._grace, now) or ("", "")
                if destination in specs:
                    place = Place(destination, "", specs[destination])
                    delivered.setdefault(place.where, {})[run] = request.key
        known = Known(now, self._grace, frozenset(jobs), frozenset(requests), {}, frozenset(self._namespaces))
        every = (place for name, spec in sorted(specs.items()) for place in _places(name, spec))
        return list({place.where: place for place in reversed(list(every))}.values()), known, delivered

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
                self._tell(finding)
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
        return "" if claim == self._owner else f"{key!r} says that another installation does. Delete it if none does"

    async def _uploads(self, bucket: Bucket) -> None:
        async for page in bucket.uploads(self._place.prefix):
            for upload in page:
                finding = sweep.judge_upload(upload.key, upload.begun, self._place.prefix, self._known)
                if finding is None or self._left <= 0:
                    continue
                finding = replace(finding, bytes=await bucket.size(upload))
                self._tell(finding)
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
        self._tell(finding)
        if self._remove and finding.kind in REMOVED:
            await bucket.delete(finding.keys)
            self._removed(finding)

    def _tell(self, finding: Finding) -> None:
        total = self._totals.setdefault(finding.kind, Total())
        total.count, total.bytes = total.count + 1, total.bytes + finding.bytes
        if len(self._report.findings) < MAX_TOLD:
            self._report.findings.append((self._place, finding))

    def _removed(self, finding: Finding) -> None:
        self._left -= len(finding.keys)
        self._report.removed += len(finding.keys)
        self._report.removed_bytes += finding.bytes
        self._totals[finding.kind].removed += finding.bytes


class _AbsentError(Exception):
    """There is no such object, or the key may not see it: without s3:ListBucket S3 answers the same."""


async def _read(bucket: Bucket, key: str) -> bytes:
    try:
        return await bucket.read(key, CLAIM_BYTES)
    except StorageError as error:
        if error.code not in DENIED | {"NoSuchKey"}:
            raise
        raise _AbsentError(str(error)) from None


def _places(name: str, spec: Mapping[str, Any]) -> Iterator[Place]:
    for each in places(name, spec):
        yield Place(name, each.title, each.spec)
    if spec.get("checkpointBucket"):
        title = f"the checkpoint bucket of ExportDestination {name!r}"
        yield Place(name, title, {**spec, "bucket": spec["checkpointBucket"]}, data=False)
