"""One look at one place of the sweep: a bucket, page by page, or the tables of a fallback; as much as a pass takes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from export_contract.names import ARTIFACT_PARTS, CHECKPOINTS
from export_operator.adapters.artifact_tables import OWNER, Tables
from export_operator.adapters.storage import DENIED, Bucket, StorageError
from export_operator.domain import sweep
from export_operator.domain.sweep import REMOVED, Finding, Folders, Known
from export_operator.sweep_report import Place, Report, Totals

MAX_PAGES = 1000  # of a thousand keys, of one place in one pass
MAX_REMOVED = 10_000  # keys and uploads, of one place in one pass
CLAIM = f"{CHECKPOINTS}/owner.json"
CLAIM_BYTES = 1024
OTHERS = "another installation does. Delete it if none does"


class BucketPass:
    """One look at one bucket."""

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


async def look_into_tables(
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
