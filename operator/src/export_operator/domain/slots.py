"""Slots: which runs may be live at once.

A slot is held while the run may have a Job. All `maxConcurrent` limits are decided on the one list of those who hold
one; writing the outcome is the caller's: by compare-and-swap, so that two deciders never both win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from export_operator.domain.identity import Subject, subject
from export_operator.domain.pages import MAX_ENTRIES, Entry

CLUSTER = Subject("Cluster", "all")
GATED = frozenset({"Source", "Destination"})

Gate = Callable[[Subject], int | None]
"""A limit that comes and goes with the health of a source or destination; None: no limit."""


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """`maxConcurrent` at each level; None means unbounded."""

    total: int
    user: int | None = None
    namespace: int | None = None
    policy: int | None = None
    source: int | None = None
    destination: int | None = None


class Level(NamedTuple):
    """At most `limit` live runs of `subject`; None where only a gate may say so."""

    subject: Subject
    limit: int | None


class Full(NamedTuple):
    """Why a run gets no slot now: the level, and the reason that status shows."""

    level: Level
    reason: str


def no_gate(_: Subject) -> int | None:
    return None


def levels_of(entry: Entry, limits: SlotLimits) -> tuple[Level, ...]:
    """The levels that the run must find room at, the most particular first: it is the one that a person can act on. A
    service account that counts as its namespace has the tighter of both limits there."""
    owner = subject(entry.user, entry.request.namespace)
    namespace = Subject("Namespace", entry.request.namespace)
    bounded: dict[Subject, int] = {}
    for whom, limit in (
        (owner, limits.user),
        (namespace, limits.namespace),
        (Subject("Policy", entry.policy), limits.policy),
    ):
        if limit is not None:
            bounded[whom] = min(limit, bounded.get(whom, limit))
    return (
        *(Level(whom, limit) for whom, limit in bounded.items()),
        Level(Subject("Source", entry.source), limits.source),
        Level(Subject("Destination", entry.destination), limits.destination),
        Level(CLUSTER, min(limits.total, MAX_ENTRIES)),
    )


class Occupancy:
    """How many live runs each subject has. It changes with `add` and `remove`, both idempotent by run."""

    def __init__(self, entries: Iterable[Entry] = (), gate: Gate = no_gate) -> None:
        self._gate = gate
        self._runs: dict[str, tuple[Entry, frozenset[Subject]]] = {}
        self._held: dict[Subject, int] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        if entry.run not in self._runs:
            subjects = subjects_of(entry)
            self._runs[entry.run] = entry, subjects
            for each in subjects:
                self._held[each] = self._held.get(each, 0) + 1

    def remove(self, run: str) -> frozenset[Subject]:
        """The subjects that have room for one more by it."""
        _, subjects = self._runs.pop(run, (None, frozenset()))
        for each in subjects:
            left = self._held[each] - 1
            if left:
                self._held[each] = left
            else:
                del self._held[each]
        return subjects

    def __contains__(self, run: str) -> bool:
        return run in self._runs

    @property
    def entries(self) -> tuple[Entry, ...]:
        """In the order in which they came."""
        return tuple(entry for entry, _ in self._runs.values())

    def held(self, whom: Subject) -> int:
        return self._held.get(whom, 0)

    def full(self, levels: Sequence[Level]) -> Full | None:
        """The first level without room for one more."""
        for level in levels:
            whom, limit = level
            held = self._held.get(whom, 0)
            if limit is not None and held >= limit:
                return Full(level, f"{whom.kind}Concurrency")
            if whom.kind in GATED:
                gate = self._gate(whom)
                if gate is not None and held >= gate:
                    return Full(level, f"{whom.kind}{'Recovering' if gate else 'Unavailable'}")
        return None


def subjects_of(entry: Entry) -> frozenset[Subject]:
    """Every subject that the run counts against while it is live."""
    return _subjects(entry.user, entry.request.namespace, entry.policy, entry.source, entry.destination)


@lru_cache(maxsize=4096)  # each run of a person at a place has the same ones
def _subjects(user: str, namespace: str, policy: str, source: str, destination: str) -> frozenset[Subject]:
    return frozenset(
        (
            subject(user, namespace),
            Subject("Namespace", namespace),
            Subject("Policy", policy),
            Subject("Source", source),
            Subject("Destination", destination),
            CLUSTER,
        )
    )


def grant(
    entries: Sequence[Entry], wanted: Iterable[tuple[Entry, Sequence[Level]]], gate: Gate = no_gate
) -> tuple[Entry, ...]:
    """The entries with those of `wanted` that find room at each of their levels, in the order given. A run that holds a
    slot keeps it."""
    occupancy = Occupancy(entries, gate)
    for entry, levels in wanted:
        if occupancy.full(levels) is None:
            occupancy.add(entry)
    return occupancy.entries
