"""What can be read of a ledger object, also of a damaged one: item by item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from export_operator.domain import times
from export_operator.domain.identity import Subject
from export_operator.domain.model import EPOCH
from export_operator.domain.pages import Page
from export_operator.domain.tombstones import Tombstones
from export_operator.domain.usage import FORMAT, parse_bucket, parse_entry, parse_tombstone, parse_usage, usage_name

T = TypeVar("T")

DAMAGE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading something else than what we wrote ends with."""


@dataclass(frozen=True, slots=True)
class Found:
    """A ledger object as it was read. With a `fault`, `page` is what can be read of it, `unread` the number of items
    that cannot, and `subject` may be None. `newer`: a newer release wrote it, which knows more."""

    name: str
    created: datetime
    subject: Subject | None
    page: Page = field(default_factory=Page)
    fault: str = ""
    unread: int = 0
    newer: bool = False


def read_usage(body: Mapping[str, Any]) -> Found:
    """The object of this document. Never raises, whatever stands in it."""
    usage = parse_usage(body)
    created = times.parse(body["metadata"].get("creationTimestamp")) or EPOCH
    if not usage.fault:
        return Found(usage.name, created, usage.subject, usage.page)
    spec = body.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    try:
        told = Subject(spec["subject"]["kind"], spec["subject"]["name"])
        subject = told if usage_name(told) == usage.name else None
    except DAMAGE:
        subject = None
    version = spec.get("version")
    if isinstance(version, int) and version > FORMAT:
        return Found(usage.name, created, subject, fault=usage.fault, newer=True)
    entries, damaged = _readable(spec.get("entries"), parse_entry)
    folded, lost = _readable(spec.get("folded"), parse_bucket)
    once = {entry.run: entry for entry in entries}
    stones, _ = _readable(spec.get("tombstones"), parse_tombstone)
    page = Page(tuple(once.values()), tuple(folded), Tombstones(tuple(stones), forgotten=True))
    return Found(usage.name, created, subject, page, usage.fault, damaged + lost)


def _readable(items: Any, parse: Callable[[Mapping[str, Any]], T]) -> tuple[list[T], int]:
    """The items that can be read, and how many cannot."""
    found: list[T] = []
    given = items if isinstance(items, list) else []
    for item in given:
        try:
            found.append(parse(item))
        except DAMAGE:
            continue
    return found, len(given) - len(found)
