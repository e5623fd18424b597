"""Clean-up behind runs that have ended: uploads aborted, checkpoints and objects deleted, then the Job.

Nothing waits for it. What cannot be done now is tried again, with pauses for each destination by itself, so that a
bucket that is away holds up no other. What a process leaves undone the next one finds, since the Job is still there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from export_contract.codec import ContractError
from export_contract.leftovers import doomed, owns
from export_contract.manifest import Manifest
from export_operator.adapters.cluster import Cluster
from export_operator.adapters.kube import ApiError
from export_operator.adapters.storage import ABSENT, DENIED, Bucket, StorageError
from export_operator.domain import leftovers, undo_job
from export_operator.domain.actions import Undo
from export_operator.domain.jobs import PodSettings
from export_operator.domain.leftovers import Area
from export_operator.domain.manifests import MAX_BYTES
from export_operator.domain.model import Job, parse_job
from export_operator.logs import concerning

log = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds, after so many failures in a row of one destination
AT_ONCE = 4  # runs of one destination
LOOK_SECONDS = 2.0  # between looks at a pod that undoes a run
FRESH = 200  # runs that are undone with one connection and one look at the credentials
MAX_DONE = 10_000  # runs remembered that were undone

Opened = Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Bucket]]
_Open = Callable[[Mapping[str, Any]], Awaitable[Bucket]]


class Cleaner:
    """`opened` gives the bucket of a place, `destination` the present spec of an ExportDestination by name, `pods` how
    pods are made. `done` is told each run that was undone, `waiting` how many of a
    destination are not yet."""

    def __init__(
        self,
        cluster: Cluster,
        opened: Opened,
        destination: Callable[[str], Mapping[str, Any] | None],
        pods: PodSettings,
        *,
        done: Callable[[str], None] = lambda _: None,
        waiting: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self._cluster = cluster
        self._opened = opened
        self._destination = destination
        self._pods = pods
        self._told_done = done
        self._told_waiting = waiting
        self._waiting: dict[str, dict[str, Undo]] = {}
        self._done: dict[str, bool] = {}
        """Runs that were undone, oldest first; whether with their objects."""
        self._added = asyncio.Event()
        self._hurry: dict[str, asyncio.Event] = {}

    def undo(self, undo: Undo) -> None:
        """Do it some time soon. Said twice, it is done once."""
        waiting = self._waiting.setdefault(undo.destination, {})
        known = waiting.get(undo.run)
        if known is None or (undo.objects, not undo.stays) > (known.objects, not known.stays):
            waiting[undo.run] = undo
            self._told_waiting(undo.destination, len(waiting))
            self._added.set()

    def waits(self, run: str) -> bool:
        """The run is being undone."""
        return any(run in waiting for waiting in self._waiting.values())

    def undone(self, run: str, *, objects: bool) -> bool:
        """The run was undone by this process, with its objects if those are asked for."""
        done = self._done.get(run)
        return done is not None and done >= objects

    def nudge(self, destination: str) -> None:
        """The destination is back: what waits for it is tried at once."""
        if destination in self._hurry:
            self._hurry[destination].set()

    async def run(self) -> None:
        """Work until cancelled: destinations beside each other."""
        async with asyncio.TaskGroup() as group:
            while True:
                for destination, waiting in self._waiting.items():
                    if waiting and destination not in self._hurry:
                        self._hurry[destination] = asyncio.Event()
                        group.create_task(self._serve(destination, waiting), name=f"clean-up of {destination}")
                await self._added.wait()
                self._added.clear()

    async def _serve(self, destination: str, waiting: dict[str, Undo]) -> None:
        failures = 0
        while waiting:
            done, failed = await self._round(waiting, 1 if failures else AT_ONCE)
            self._told_waiting(destination, len(waiting))
            failures = min(failed, 1) if done else failures + 1
            if failures:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PAUSES[min(failures, len(PAUSES)) - 1]):
                        await self._hurry[destination].wait()
                self._hurry[destination].clear()
        del self._hurry[destination]

    async def _round(self, waiting: dict[str, Undo], at_once: int) -> tuple[int, int]:
        """Undo some, with the same connections, until one cannot be: it goes to the end of the line. How many could be
        undone, and how many not."""
        done = failed = 0
        async with _buckets(self._opened) as bucket:
            chosen = list(waiting.values())[:FRESH]
            for start in range(0, len(chosen), at_once):
                some = chosen[start : start + at_once]
                for undo, good in zip(
                    some, await asyncio.gather(*(self._try(each, bucket) for each in some)), strict=True
                ):
                    done, failed = done + good, failed + (not good)
                    if waiting[undo.run] is undo:  # not asked for anew, with the objects
                        del waiting[undo.run]
                        if not good:
                            waiting[undo.run] = undo
                if failed:
                    break
        return done, failed

    async def _try(self, undo: Undo, bucket: _Open) -> bool:
        concerning(undo.job.request if undo.job is not None else "", undo.run)
        try:
            done = await self._undo(undo, bucket)
        except (StorageError, ApiError, ContractError) as error:
            log.warning("cannot be cleaned up behind, and waits: %s", error)
            return False
        except Exception:
            log.exception("cannot be cleaned up behind, and waits")
            return False
        if done:
            self._done[undo.run] = undo.objects
            if len(self._done) > MAX_DONE:
                del self._done[next(iter(self._done))]
        self._told_done(undo.run)
        return True

    async def _undo(self, undo: Undo, bucket: _Open) -> bool:
        """Whether it was done: a Job that is gone, or at work again, is for others to look at. One that changes
        meanwhile is not deleted; it is looked at once more."""
        left, job, document = undo.at, undo.job, None
        if job is not None:
            document = await self._cluster.job(job.name)
            if document is None or not _at_rest(now := parse_job(document), job):
                return False
            job = now
            if undo.stays and job.undone:
                return True
            left = leftovers.of_job(document, self._destination)
        assert left is not None, "an Undo has a Job or says where"
        if left.by_pod and document is not None:
            await self._by_pod(undo_job.build(document, self._pods, objects=undo.objects))
        else:
            for area in left.areas:
                if not (area.place.get("credentialsSecret") or {}).get("name"):
                    log.warning(
                        "run %s: what it left in bucket %r is only reached by export pods, and it has no Job"
                        " any more: a lifecycle rule has to remove it",
                        undo.run,
                        area.place["bucket"],
                    )
                    continue
                await clean(await bucket(area.place), area, objects=undo.objects)
        if job is not None and undo.stays:
            await self._cluster.note_undone(job)
        elif job is not None:
            await self._cluster.delete_job(job, unchanged=True)
        return True

    async def _by_pod(self, manifest: Mapping[str, Any]) -> None:
        """Have a pod undo it, or find that one does already. Raises `StorageError` when it fails."""
        found = parse_job(await self._cluster.create_job(manifest))
        while not found.terminal:
            await asyncio.sleep(LOOK_SECONDS)
            document = await self._cluster.job(found.name)
            if document is None or document["metadata"]["uid"] != found.uid:
                raise StorageError(f"Job {found.name} is gone before its end")
            found = parse_job(document)
        if found.failed:
            await self._cluster.delete_job(found)
            raise StorageError(f"Job {found.name} failed: {found.failed_reason}: {found.failed_message}")


def _at_rest(now: Job, then: Job) -> bool:
    """The Job is still the one that was seen, and still nothing is at work for it: else it is looked at anew."""
    return now.uid == then.uid and (now.terminal or now.suspended)


@contextlib.asynccontextmanager
async def _buckets(opened: Opened) -> AsyncIterator[_Open]:
    """Each place is opened once, when it is first asked for."""
    found: dict[str, asyncio.Future[Bucket]] = {}
    async with AsyncExitStack() as stack:

        async def bucket(place: Mapping[str, Any]) -> Bucket:
            name = json.dumps(place, sort_keys=True, default=str)
            if name not in found:
                found[name] = asyncio.ensure_future(stack.enter_async_context(opened(place)))
            return await found[name]

        yield bucket


async def clean(bucket: Bucket, area: Area, *, objects: bool) -> None:
    """Remove what a run has left in a folder. What the credentials may not do is left, and told; but objects that are
    to go are an error as long as they stay. Raises `StorageError`."""
    with _tolerated(bucket, "list uploads"):
        async for page in bucket.uploads(area.folder):
            for upload in page:
                if owns(area.folder, upload.key, data=area.data):
                    await bucket.abort(upload)
    try:
        found = [each.key async for page in bucket.pages(area.folder) for each in page]
    except StorageError as error:
        if error.code in ABSENT:
            return
        if error.code not in DENIED:
            raise
        if area.data and not objects:
            return  # without s3:ListBucket nobody knows what is there beside the export
        found = [*area.known, *(await _listed_in_manifest(bucket, area) if area.data else ())]
    going = doomed(found, area.folder, data=area.data, objects=objects)
    if objects and area.data:
        await bucket.delete(going)
        return
    with _tolerated(bucket, "delete what failed runs leave"):
        await bucket.delete(going)


async def _listed_in_manifest(bucket: Bucket, area: Area) -> list[str]:
    try:
        manifest = Manifest.from_json(await bucket.read(area.known[0], MAX_BYTES))
    except ContractError:
        return []
    except StorageError as error:
        if error.code not in ABSENT | DENIED:
            raise
        return []
    return [each.key for each in manifest.objects]


@contextlib.contextmanager
def _tolerated(bucket: Bucket, what: str) -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        if error.code not in ABSENT | DENIED:
            raise
        if error.code in DENIED:
            log.warning("bucket %r does not let the operator %s: a lifecycle rule has to", bucket.name, what)
