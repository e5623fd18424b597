"""What lies in a bucket that nobody needs any more: judged folder by folder, by what the cluster knew before it looked.

A run that has a Job is never judged: its Job is the note of what is still to be done. Neither is what is younger than
the grace, for it may belong to a run that began since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from export_contract.leftovers import Owned, owned
from export_operator.domain import times
from export_operator.domain.model import Key, Request
from export_operator.domain.tombstones import Tombstone

Kind = Literal["Upload", "Checkpoint", "Unfinished", "Delivered", "Missing"]
"""An upload that nobody will complete; what only a run in progress needs; objects that no manifest makes an export; an
export whose request is gone, which stays; an export that its request, or the tombstone of one, tells of and that is
not there."""
KINDS: tuple[Kind, ...] = ("Upload", "Checkpoint", "Unfinished", "Delivered", "Missing")
REMOVED: frozenset[Kind] = frozenset({"Upload", "Checkpoint", "Unfinished"})


@dataclass(frozen=True, slots=True)
class Known:
    """What the cluster knows. `jobs` are the runs that have one, `delivered` the runs whose requests or tombstones tell
    of an export in the place that is looked at. `namespaces` None: all are served."""

    now: datetime
    grace: timedelta
    jobs: Collection[str] = frozenset()
    requests: Collection[Key] = frozenset()
    delivered: Mapping[str, Key] = field(default_factory=dict)
    namespaces: Collection[str] | None = None

    def expects(self, request: Key) -> bool:
        """What the request delivered is somebody's: it is there, or not ours to know."""
        return request in self.requests or (self.namespaces is not None and request.namespace not in self.namespaces)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in a listing; `size` in bytes."""

    key: str
    modified: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    """All that is ours of what a listing shows of one folder of a run."""

    of: Owned
    objects: tuple[Stored, ...]
    manifest: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of a run in a fallback's tables that are no export; `seen` is when a sweep first found them so."""

    run: str
    bytes: int
    seen: datetime | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """An export in a fallback's tables that was not moved out of them."""

    run: str
    request: Key
    bytes: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that lies there to no use. `bytes` as far as they are known; `keys` go if it is one of `REMOVED`."""

    kind: Kind
    run: str
    folder: str
    keys: tuple[str, ...] = ()
    bytes: int = 0
    request: Key | None = None


class Folders:
    """Puts a listing together by folders of runs: it comes in the order of keys, so those of one folder follow each
    other. Keys under an `excluded` prefix are not looked at."""

    def __init__(self, prefix: str, excluded: Collection[str] = ()) -> None:
        self._prefix = prefix
        self._excluded = tuple(excluded)
        self._of: Owned | None = None
        self._objects: list[Stored] = []
        self._manifest = False

    def exclude(self, prefix: str) -> None:
        """What follows under this prefix is somebody else's."""
        self._excluded = (*self._excluded, prefix)

    @property
    def open(self) -> bool:
        """The last folder that was seen may go on."""
        return self._of is not None

    def feed(self, stored: Stored) -> Iterator[Folder]:
        """The next object of the listing; the folder that has ended with it, if one has."""
        if self._of is not None and not stored.key.startswith(self._of.folder):
            yield from self.end()
        of = None if stored.key.startswith(self._excluded) else owned(stored.key, self._prefix)
        if of is None or (self._of is not None and of.folder != self._of.folder):
            return  # nothing of ours, if need be among ours
        self._of = of
        self._objects.append(stored)
        self._manifest |= of.manifest

    def end(self) -> Iterator[Folder]:
        """The last folder, when the listing is over."""
        if self._of is not None:
            yield Folder(self._of, tuple(self._objects), self._manifest)
        self._of, self._objects, self._manifest = None, [], False


def judge(folder: Folder, known: Known) -> Finding | None:
    """What is wrong with a folder; None when nothing is, or when it is too early to say."""
    of = folder.of
    if of.run in known.jobs or max(each.modified for each in folder.objects) > known.now - known.grace:
        return None
    request = Key(of.namespace, of.name) if of.data else None
    if request is None:
        kind: Kind = "Checkpoint"
    elif not folder.manifest:
        kind = "Unfinished"
    elif known.expects(request):
        return None
    else:
        kind = "Delivered"
    keys = tuple(each.key for each in folder.objects)
    return Finding(kind, of.run, of.folder, keys, sum(each.size for each in folder.objects), request)


def judge_parts(parts: Parts, known: Known) -> Finding | None:
    """Likewise of rows of a fallback's tables that no artifact makes an export. They have no age of their own: what
    counts is since when a sweep knows of them."""
    if parts.run in known.jobs or parts.seen is None or parts.seen > known.now - known.grace:
        return None
    return Finding("Unfinished", parts.run, parts.run, bytes=parts.bytes)


def judge_artifact(artifact: Artifact, known: Known) -> Finding | None:
    """Likewise of an export in a fallback's tables."""
    request = artifact.request
    if artifact.created > known.now - known.grace or known.expects(request):
        return None
    return Finding("Delivered", artifact.run, artifact.run, bytes=artifact.bytes, request=request)


def judge_upload(key: str, begun: datetime, prefix: str, known: Known) -> Finding | None:
    """Likewise of an unfinished upload; its bytes are not known yet."""
    of = owned(key, prefix)
    if of is None or of.run in known.jobs or begun > known.now - known.grace:
        return None
    return Finding("Upload", of.run, of.folder, (key,), request=Key(of.namespace, of.name) if of.data else None)


def delivered(request: Request, grace: timedelta, now: datetime) -> tuple[str, str] | None:
    """The ExportDestination in which the request says its export is, and its run; None when it says no such thing, or
    has said so for less than the grace, or when the export went elsewhere or its time is over."""
    status = request.status
    result: Mapping[str, Any] = status.get("result") or {}
    destination = str((status.get("effective") or {}).get("destination") or "")
    if request.phase == "Expired" or not destination:
        return None
    told = _lasts(result, times.parse(status.get("completionTime")), grace, now)
    return (destination, run_of(str(result["uri"]))) if told else None


def remembered(stone: Tombstone, grace: timedelta, now: datetime) -> str | None:
    """Where the export is, by its URI, that a request which is made again would take over; None likewise."""
    return str(stone.result["uri"]) if _lasts(stone.result, stone.ended, grace, now) else None


def run_of(uri: str) -> str:
    """The run whose folder an object is in. Of an adopted export that is the run that made it."""
    return uri.rpartition("/")[0].rpartition("/")[2]


def _lasts(result: Mapping[str, Any], completed: datetime | None, grace: timedelta, now: datetime) -> bool:
    expires = times.parse(result.get("expirationTime"))
    if not result.get("uri") or result.get("usedFallback"):
        return False
    return completed is not None and completed <= now - grace and (expires is None or expires >= now + grace)


def missing(known: Known, seen: Collection[str]) -> Iterator[Finding]:
    """Exports that somebody tells of and that a whole listing has not shown."""
    for run, request in sorted(known.delivered.items()):
        if run not in seen:
            yield Finding("Missing", run, "", request=request)
