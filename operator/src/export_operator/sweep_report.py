"""What a sweep looks at, and what it tells of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from export_contract.names import artifact_uri
from export_contract.runspec import FallbackDatabase
from export_operator.adapters import witnesses
from export_operator.domain.places import fallback_database
from export_operator.domain.sweep import Finding, Kind

MAX_TOLD = 1000  # findings kept to be told; all are counted

Where = tuple[str, str, str]
"""Endpoint, bucket and prefix; of tables their server, database and schema."""


@dataclass(frozen=True, slots=True)
class Place:
    """A prefix in a bucket, to be looked at once, whatever destinations share it; or the `tables` of a fallback. `spec`
    has a destination's fields, of tables those of the fallback's database."""

    destination: str
    title: str
    spec: Mapping[str, Any]
    data: bool = True
    tables: FallbackDatabase | None = None

    @property
    def prefix(self) -> str:
        """With a slash at its end, unless it is empty."""
        given = (self.spec.get("prefix") or "").strip("/")
        return f"{given}/" if given else ""

    @property
    def where(self) -> Where:
        if self.tables is not None:
            return (f"{self.tables.host}:{self.tables.port}", self.tables.database, self.tables.schema)
        return (self.spec.get("endpoint") or "", self.spec["bucket"], self.prefix)

    def uri(self, folder: str) -> str:
        """Of a finding's folder."""
        return f"s3://{self.spec['bucket']}/{folder}" if self.tables is None else artifact_uri(self.tables, folder)

    def inside(self, other: Place) -> bool:
        """Of the same bucket, under the other's prefix."""
        if self.tables is not None or other.tables is not None or self.where[:2] != other.where[:2]:
            return False
        return self.prefix != other.prefix and self.prefix.startswith(other.prefix)

    def holds(self, uri: str) -> bool:
        """The object may be of an export in this place."""
        return self.tables is None and self.data and uri.startswith(f"s3://{self.spec['bucket']}/{self.prefix}")


def places(name: str, spec: Mapping[str, Any]) -> Iterator[Place]:
    """What is to be looked at of an ExportDestination."""
    for each in witnesses.places(name, spec):
        yield Place(name, each.title, each.spec)
    tables = fallback_database(spec)
    if tables is not None:
        yield Place(name, f"the tables of ExportDestination {name!r}", spec["fallback"]["database"], tables=tables)
    if spec.get("checkpointBucket"):
        title = f"the checkpoint bucket of ExportDestination {name!r}"
        yield Place(name, title, {**spec, "bucket": spec["checkpointBucket"]}, data=False)


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
    were looked at to the end, `unseen` the others; `blind` says where that could not be, `partial` where there is more
    than a pass takes."""

    findings: list[tuple[Place, Finding]] = field(default_factory=list)
    totals: dict[str, Totals] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)
    removed: int = 0
    removed_bytes: int = 0
    blind: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)

    def not_seen(self, place: Place, why: str) -> None:
        self._not_whole(place)
        self.blind.append(f"{place.title} {why}")

    def unfinished(self, place: Place, up_to: str) -> None:
        """The next pass goes on there."""
        self._not_whole(place)
        self.partial.append(f"{place.title} has more than one pass takes: it was swept up to {up_to!r}")

    def _not_whole(self, place: Place) -> None:
        self.whole.discard(place.destination)
        self.unseen.add(place.destination)

    def tell(self, place: Place, finding: Finding, totals: Totals) -> None:
        """A finding; it adds to the totals of its place."""
        total = totals.setdefault(finding.kind, Total())
        total.count, total.bytes = total.count + 1, total.bytes + finding.bytes
        if len(self.findings) < MAX_TOLD:
            self.findings.append((place, finding))

    def gone(self, finding: Finding, totals: Totals, number: int) -> None:
        """What was found went: so many keys, uploads or rows."""
        self.removed += number
        self.removed_bytes += finding.bytes
        totals[finding.kind].removed += finding.bytes

    def add(self, place: Place, totals: Totals) -> None:
        """The totals of one place to those of its destination."""
        for kind, total in totals.items():
            of = self.totals.setdefault(place.destination, {}).setdefault(kind, Total())
            of.count, of.bytes = of.count + total.count, of.bytes + total.bytes
            of.removed += total.removed

    @property
    def orphaned(self) -> dict[tuple[str, str], int]:
        """Bytes that are there to no use and were not removed, by destination and kind."""
        return {
            (destination, kind): total.bytes - total.removed
            for destination, totals in self.totals.items()
            for kind, total in totals.items()
        }
