"""The arithmetic of windows: how much a subject has used, and whether there is room for one run more.

A place is reserved before the run's Job exists, with rows and bytes by estimate, and settled when the run is over: to
what it delivered, or to nothing when it is refunded. Every function is idempotent by run. Writing the outcome is the
caller's: by compare-and-swap, so that two deciders never both win.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from export_operator.domain.identity import Subject
from export_operator.domain.pages import Bucket, Entry, Page, State, compact, release
from export_operator.domain.windows import Window

LAUNCHES = 4  # runs that may be launched for each that may count: refunds are no way to a source without end
HEADROOM = 2  # a run may turn out so many times as large as expected
RETRY = timedelta(seconds=30)  # when nobody can say when there is room
RESOURCES = ("requests", "rows", "bytes")
SETTLED_WITHIN = timedelta(minutes=5)  # of a run's end: so long at most its page may call it reserved


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run may be, in rows or bytes: `expected` (0: nobody knows), and `most` if the policy says so."""

    expected: int = 0
    most: int | None = None

    def least(self, limit: int) -> int:
        """What must be left for the run to begin: never more than the whole limit, for an estimate refuses nobody."""
        least = min(max(self.expected, 1), max(limit, 1))
        return least if self.most is None else min(least, self.most)

    def share(self, left: int) -> int:
        """What the run takes of what is left: what it may grow to, or all where nobody knows."""
        share = min(left, self.expected * HEADROOM) if self.expected else left
        return share if self.most is None else min(share, self.most)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a run asks of its windows besides a place."""

    rows: Size = field(default_factory=Size)
    bytes: Size = field(default_factory=Size)


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """At most so many requests, rows and bytes of `subject` in `window`; None is no limit. `scope` is what status calls
    it: User, Namespace, Policy or Cluster."""

    subject: Subject
    scope: str
    window: Window
    policy: str
    requests: int | None = None
    rows: int | None = None
    bytes: int | None = None
    maxima: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """What is limited, by resource; the limit of launches follows from the requests."""

    def __post_init__(self) -> None:
        launches = None if self.requests is None else LAUNCHES * self.requests
        given = {"requests": self.requests, "launches": launches, "rows": self.rows, "bytes": self.bytes}
        object.__setattr__(self, "maxima", {name: limit for name, limit in given.items() if limit is not None})

    def of(self, resource: str) -> int | None:
        """The limit of a resource."""
        return self.maxima.get(resource)


class WindowState(NamedTuple):
    """How a limit stands: what counts now of `resource`, of how much. `full`: there is no room for the run, and
    `next_eligible` says when there will be (None: never)."""

    limit: WindowLimit
    resource: str
    used: int
    maximum: int
    full: bool = False
    next_eligible: datetime | None = None


class Reservation(NamedTuple):
    """Whether the run has its place; `page` is what the ledger object shall hold, `entry` what it holds of the run."""

    granted: bool
    changed: bool
    page: Page
    states: tuple[WindowState, ...]
    entry: Entry


@dataclass(frozen=True, slots=True)
class Admission:
    """What all windows together say. `max_rows` and `max_bytes`: what the run may deliver (None: no limit). `over`: the
    run has ended before, so that it has no place any more. `first`: none of them knew the run before, so nobody has
    begun it; without a window nobody can tell."""

    granted: bool
    states: tuple[WindowState, ...] = ()
    max_rows: int | None = None
    max_bytes: int | None = None
    over: bool = False
    first: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a run that was launched. Rows or bytes of None: nobody knows, what is reserved stays."""

    run: str
    refunded: bool = False
    rows: int | None = None
    bytes: int | None = None


def counting(page: Page, window: Window, now: datetime) -> list[Entry | Bucket]:
    """What counts at `now`."""
    begins = window.begins(now)
    counted: list[Entry | Bucket] = [bucket for bucket in page.folded if bucket.until >= begins]
    counted += [entry for entry in page.entries if entry.time >= begins]
    return counted


def used(items: Iterable[Entry | Bucket], resource: str) -> int:
    """How much these have used of a resource: requests, launches, rows or bytes."""
    return totals(items)[resource]


def totals(items: Iterable[Entry | Bucket]) -> Mapping[str, int]:
    """How much these have used of each resource."""
    requests = launches = rows = size = 0
    for item in items:
        requests += item.requests
        launches += item.launches
        rows += item.rows
        size += item.bytes
    return {"requests": requests, "launches": launches, "rows": rows, "bytes": size}


def reserve(page: Page, entry: Entry, demand: Demand, limit: WindowLimit, now: datetime) -> Reservation:
    """Reserve a place for `entry.run`, unless the window is full. A run that holds one keeps it; its rows and bytes are
    asked for again only where a limit has come since, so that nothing of it is reserved."""
    held = page.find(entry.run)
    if held is not None and (held.state is not State.RESERVED or _covered(held, limit)):
        states = _states(limit, totals(counting(page, limit.window, now)))
        return Reservation(True, False, page, states, held)
    others = page if held is None else replace(page, entries=release(page.entries, entry.run))
    counted = counting(others, limit.window, now)
    before = totals(counted)
    full = tuple(
        [
            WindowState(
                limit, resource, amount, maximum, True, _next_free(counted, resource, maximum - need, limit.window)
            )
            for resource, maximum in limit.maxima.items()
            if (need := _need(demand, resource, maximum, held)) is not None
            and (amount := before[resource]) + need > maximum
        ]
    )
    taken = entry.reserving(
        entry.time if held is None else held.time,
        _share(demand.rows, limit.rows, before["rows"]),
        _share(demand.bytes, limit.bytes, before["bytes"]),
    )
    after = None if full else compact(others.adding(taken), now)
    if after is not None:
        return Reservation(True, True, after, _states(limit, before, taken), taken)
    if not full:
        unfinished = sum(item.state is State.RESERVED for item in others.entries)
        full = (WindowState(limit, "unfinished", unfinished, unfinished, True, now + RETRY),)
    named = {state.resource for state in full}
    others_states = (state for state in _states(limit, before) if state.resource not in named)
    return Reservation(False, False, page, (*others_states, *full), entry)


def settle(page: Page, settlements: Mapping[str, Settlement]) -> Page:
    """The page with these runs settled. One that was settled before stays as it is."""
    if not any(entry.run in settlements and entry.state is State.RESERVED for entry in page.entries):
        return page
    return replace(page, entries=tuple(_settled(entry, settlements.get(entry.run)) for entry in page.entries))


def _settled(entry: Entry, settlement: Settlement | None) -> Entry:
    if settlement is None or entry.state is not State.RESERVED:
        return entry
    if settlement.refunded:
        return replace(entry, state=State.REFUNDED, rows=0, bytes=0)
    return replace(
        entry,
        state=State.SETTLED,
        rows=entry.rows if settlement.rows is None else settlement.rows,
        bytes=entry.bytes if settlement.bytes is None else settlement.bytes,
    )


def give_back(page: Page, run: str) -> Page:
    """The page without a run that never had a Job. One that is settled had one: it stays."""
    kept = tuple(entry for entry in page.entries if entry.run != run or entry.state is not State.RESERVED)
    return page if len(kept) == len(page.entries) else replace(page, entries=kept)


def _covered(held: Entry, limit: WindowLimit) -> bool:
    return (limit.rows is None or held.rows > 0) and (limit.bytes is None or held.bytes > 0)


def _need(demand: Demand, resource: str, maximum: int, held: Entry | None) -> int | None:
    """What must be left for the run to begin; None where it is not asked for again, for a place is `held`."""
    if resource == "rows":
        return demand.rows.least(maximum)
    if resource == "bytes":
        return demand.bytes.least(maximum)
    return 1 if held is None else None


def _share(size: Size, maximum: int | None, before: int) -> int:
    return size.expected if maximum is None else size.share(max(maximum - before, 0))


def _states(limit: WindowLimit, counted: Mapping[str, int], taken: Entry | None = None) -> tuple[WindowState, ...]:
    """With what was counted, and what is `taken` besides."""
    return tuple(
        [
            WindowState(limit, resource, counted[resource] + (getattr(taken, resource) if taken else 0), maximum)
            for resource, maximum in limit.maxima.items()
            if resource in RESOURCES
        ]
    )


def _next_free(counted: Sequence[Entry | Bucket], resource: str, room: int, window: Window) -> datetime | None:
    """When no more than `room` is used any more; None if that never comes. What is reserved may be settled before."""
    if room < 0:
        return None
    left = used(counted, resource)
    for item in sorted(counted, key=lambda item: item.until):
        left -= getattr(item, resource)
        if left <= room:
            return window.leaves(item.until)
    raise AssertionError("an empty window has room")
