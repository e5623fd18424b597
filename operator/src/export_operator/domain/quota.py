"""The ledger's arithmetic: sliding windows. Every function is idempotent by run.

A window entry counts for `window` seconds from its reservation, whatever became of the run. Writing the outcome is the
caller's: by compare-and-swap, so that two deciders never both win.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key

MAX_ENTRIES = 1024  # of one ledger object: keeps it far below etcd's limit of 1.5 MiB
MAX_WINDOW = timedelta(days=31)  # the longest window a policy may ask for: what is older can count nowhere


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the ledger: whose it is and what it may touch, so that it can be undone without its request."""

    run: str
    request: Key
    uid: str
    time: datetime
    user: str = ""
    source: str = ""
    destination: str = ""
    policy: str = ""


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """At most `limit` requests of `subject` within any `window`. `scope` is what status calls it."""

    subject: Subject
    scope: str
    limit: int
    window: timedelta
    policy: str


@dataclass(frozen=True, slots=True)
class WindowState:
    """How a limit stands: requests that count now, and when the next one would be free (None: now)."""

    limit: WindowLimit
    used: int
    next_eligible: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Whether the run has its place in the window; `entries` is what the ledger object shall hold."""

    granted: bool
    changed: bool
    entries: tuple[Entry, ...]
    state: WindowState


def reserve(entries: Sequence[Entry], entry: Entry, limit: WindowLimit, now: datetime) -> Reservation:
    """Reserve a place for `entry.run`, unless the window is full. A run that holds one keeps it."""
    live = within(entries, limit.window, now)
    if any(held.run == entry.run for held in entries):
        return Reservation(True, False, tuple(entries), WindowState(limit, len(live)))
    kept = within(entries, MAX_WINDOW, now)
    capacity = min(limit.limit, MAX_ENTRIES)
    if len(live) < capacity:
        return Reservation(True, True, (*kept, entry)[-MAX_ENTRIES:], WindowState(limit, len(live) + 1))
    return Reservation(
        False, False, tuple(entries), WindowState(limit, len(live), _next_free(live, capacity, limit.window))
    )


def within(entries: Iterable[Entry], window: timedelta, now: datetime) -> tuple[Entry, ...]:
    """The entries reserved within `window` before `now`, oldest first."""
    return tuple(
        sorted((entry for entry in entries if entry.time + window > now), key=lambda entry: (entry.time, entry.run))
    )


def release(entries: Sequence[Entry], run: str) -> tuple[Entry, ...]:
    """The entries without `run`."""
    return tuple(entry for entry in entries if entry.run != run)


def _next_free(live: Sequence[Entry], capacity: int, window: timedelta) -> datetime | None:
    """When enough entries have left the window for one more; None if the limit allows nobody, ever."""
    if capacity <= 0:
        return None
    return live[len(live) - capacity].time + window
