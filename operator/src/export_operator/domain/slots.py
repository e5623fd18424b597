"""Slots: which runs may be live at once. Every function is idempotent by run.

A slot is held while the run may have a Job. Writing the outcome is the caller's: by compare-and-swap, so that two
deciders never both win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export_operator.domain.quota import MAX_ENTRIES, Entry


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """`maxConcurrent` at each level; None means unbounded."""

    total: int
    user: int | None = None
    namespace: int | None = None
    source: int | None = None
    destination: int | None = None


@dataclass(frozen=True, slots=True)
class SlotGrant:
    """`reason` says which level is full when the slot is refused."""

    granted: bool
    changed: bool
    entries: tuple[Entry, ...]
    reason: str = ""


def take_slot(entries: Sequence[Entry], entry: Entry, limits: SlotLimits) -> SlotGrant:
    """Give `entry.run` a slot if every level has room. A run that holds one keeps it."""
    if any(held.run == entry.run for held in entries):
        return SlotGrant(True, False, tuple(entries))
    levels = (
        ("UserConcurrency", limits.user, sum(held.user == entry.user for held in entries)),
        (
            "NamespaceConcurrency",
            limits.namespace,
            sum(held.request.namespace == entry.request.namespace for held in entries),
        ),
        ("SourceConcurrency", limits.source, sum(held.source == entry.source for held in entries)),
        ("DestinationConcurrency", limits.destination, sum(held.destination == entry.destination for held in entries)),
        ("ClusterConcurrency", min(limits.total, MAX_ENTRIES), len(entries)),
    )
    for reason, limit, held in levels:
        if limit is not None and held >= limit:
            return SlotGrant(False, False, tuple(entries), reason)
    return SlotGrant(True, True, (*entries, entry))
