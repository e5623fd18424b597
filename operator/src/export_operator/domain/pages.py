"""The ledger's objects as values: runs one by one, and older ones summed up, so that an object stays small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from export_operator.domain.model import EPOCH, Key
from export_operator.domain.tombstones import NOTHING, Tombstones
from export_operator.domain.windows import MAX_WINDOW

MAX_ENTRIES = 1024
MAX_BYTES = 768 * 1024  # of entries as JSON, about: both keep an object below etcd's limit of 1.5 MiB
MANY = 128  # entries beside those of the last hour: each costs the API server 0.15 ms in each write of the page
RECENT = timedelta(hours=1)  # so long a run stays by itself, for whoever may still ask for it
KEPT = 0.75  # of a bound, when a page is folded: so that not each write folds
ENTRY_BYTES = 320  # of an entry's JSON besides names
LARGEST = 3.5 * 1024  # of an entry
BUCKET_SHARE = 48  # a bucket is at most this part of its age wide: that long its entries may count too long
BUCKET_WIDTH = timedelta(minutes=1)  # or this, when it is young


class State(StrEnum):
    """Reserved: waiting or under way. Settled: over, and it counts. Refunded: over, and only its launch counts."""

    RESERVED = "Reserved"
    SETTLED = "Settled"
    REFUNDED = "Refunded"


REFUNDED = State.REFUNDED  # asked of each entry of a page


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the ledger: whose it is and what it may touch, so that it can be undone without its request. `rows` and
    `bytes` are what is reserved, then what was delivered."""

    run: str
    request: Key
    uid: str
    time: datetime
    user: str = ""
    source: str = ""
    destination: str = ""
    policy: str = ""
    state: State = State.RESERVED
    rows: int = 0
    bytes: int = 0
    launches: ClassVar[int] = 1
    """A run that never had a Job has no entry: each one that is here may have been launched."""

    @property
    def requests(self) -> int:
        return 0 if self.state is REFUNDED else 1

    @property
    def until(self) -> datetime:
        return self.time

    def reserving(self, time: datetime, rows: int, size: int) -> Entry:
        """The same since `time`, with so many rows and bytes. By name each field would take twice as long."""
        whose = (self.run, self.request, self.uid, time, self.user)
        return Entry(*whose, self.source, self.destination, self.policy, self.state, rows, size)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Entries of runs that are over, summed up. They count as if all had been reserved `until`, when the last was."""

    since: datetime
    until: datetime
    requests: int
    launches: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """What one ledger object holds of a window, and of requests that are gone."""

    entries: tuple[Entry, ...] = ()
    folded: tuple[Bucket, ...] = ()
    tombstones: Tombstones = NOTHING

    def find(self, run: str) -> Entry | None:
        for entry in self.entries:
            if entry.run == run:
                return entry
        return None

    def adding(self, entry: Entry) -> Page:
        """With one entry more."""
        return Page((*self.entries, entry), self.folded, self.tombstones)

    @property
    def last(self) -> datetime:
        """When something was last reserved."""
        items: tuple[Entry | Bucket, ...] = self.folded + self.entries
        return max((item.until for item in items), default=EPOCH)

    def over(self, now: datetime) -> bool:
        """Nothing in it counts any more, and nothing in it is of use."""
        return self.last <= now - MAX_WINDOW and self.tombstones.over(now)


def release(entries: Sequence[Entry], run: str) -> tuple[Entry, ...]:
    """The entries without `run`."""
    return tuple(entry for entry in entries if entry.run != run)


def compact(page: Page, now: datetime) -> Page | None:
    """The page without what can count nowhere any more and, when there is much, with the oldest runs that are over
    summed up. None when too many runs are not over: there is no room then."""
    oldest = now - MAX_WINDOW
    entries = tuple([entry for entry in page.entries if entry.time > oldest])
    folded = tuple([bucket for bucket in page.folded if bucket.until > oldest])
    begins = now - RECENT
    few = len(entries) <= MANY or sum(entry.time <= begins for entry in entries) <= MANY
    if few and _fits(entries):
        whole = (len(entries), len(folded)) == (len(page.entries), len(page.folded))
        return page if whole else replace(page, entries=entries, folded=folded)
    kept, over = _split(entries, begins)
    if not _fits(kept):
        return None
    return replace(page, entries=kept, folded=_merge([*folded, *map(_bucket, over)], now))


def _fits(entries: Sequence[Entry]) -> bool:
    if len(entries) * LARGEST <= MAX_BYTES:
        return True
    return len(entries) <= MAX_ENTRIES and sum(map(_weight, entries)) <= MAX_BYTES


def _split(entries: Sequence[Entry], begins: datetime) -> tuple[tuple[Entry, ...], list[Entry]]:
    """Entries to keep, and the oldest of those that are over, so many that there is room for some time: fewer stay of
    those before `begins`."""
    number, weight = len(entries), sum(map(_weight, entries))
    kept, over = [], []
    for entry in sorted(entries, key=lambda entry: (entry.time, entry.run)):
        most = MANY if entry.time <= begins else MAX_ENTRIES
        if entry.state is not State.RESERVED and (number > KEPT * most or weight > KEPT * MAX_BYTES):
            over.append(entry)
            number -= 1
            weight -= _weight(entry)
        else:
            kept.append(entry)
    return tuple(kept), over


def _bucket(entry: Entry) -> Bucket:
    return Bucket(entry.time, entry.time, entry.requests, entry.launches, entry.rows, entry.bytes)


def _merge(buckets: Iterable[Bucket], now: datetime) -> tuple[Bucket, ...]:
    """Neighbours become one, as long as that is narrow for its age."""
    merged: list[Bucket] = []
    for bucket in sorted(buckets, key=lambda bucket: (bucket.until, bucket.since)):
        last = merged[-1] if merged else None
        widest = max(BUCKET_WIDTH, (now - bucket.until) / BUCKET_SHARE)
        if last is not None and bucket.until - min(last.since, bucket.since) <= widest:
            merged[-1] = Bucket(
                since=min(last.since, bucket.since),
                until=bucket.until,
                requests=last.requests + bucket.requests,
                launches=last.launches + bucket.launches,
                rows=last.rows + bucket.rows,
                bytes=last.bytes + bucket.bytes,
            )
        else:
            merged.append(bucket)
    return tuple(merged)


def _weight(entry: Entry) -> int:
    """Bytes that an entry takes as JSON, at most. Only a user's name may have letters of more than a byte."""
    key = entry.request
    names = len(key.namespace) + len(key.name) + len(entry.source) + len(entry.destination) + len(entry.policy)
    return ENTRY_BYTES + names + 4 * len(entry.user)
