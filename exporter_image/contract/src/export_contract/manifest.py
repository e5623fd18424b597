"""The manifest beside a delivered object: written last, it is the commit point and the auditor's proof. It is read for
years: see `report` for what its readers do with fields that they do not know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from export_contract.codec import dumps, loads
from export_contract.report import Delivered
from export_contract.runspec import Layout, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A delivered column: its name and PostgreSQL's name of its type (`numeric(14,2)`)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One object of the export, and how many of the rows are in it. `sha256` is hex, over the stored bytes."""

    bucket: str
    key: str
    rows: int
    bytes: int
    sha256: str
    etag: str
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Rows, in the order of the objects, that were read in one snapshot."""

    snapshot: str
    snapshot_time: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Times are RFC 3339 in UTC; `snapshot` is PostgreSQL's `pg_current_snapshot()` of the (first) rows.

    `objects` are in the order of the rows; only what stands here belongs to the export. `consistency` is what the rows
    have (Snapshot or Segmented), `segments` say which were read when. `sha256_source`: ReadBack when the finished
    object was read again to get its hash, because it was made by several processes. `used_fallback`: the objects are in
    the fallback, and so is this manifest. `nulled` counts, by column, the values that the format has no place for and
    that were delivered as NULL.
    """

    version: Literal[1] = 1
    run: Run
    source: str
    dataset: str
    format: str
    compression: str
    layout: Layout = "SingleObject"
    columns: tuple[Column, ...]
    rows: int
    objects: tuple[ObjectRef, ...]
    complete: bool
    consistency: str
    snapshot: str
    snapshot_time: str
    started_at: str
    finished_at: str
    exporter_version: str = ""
    segments: tuple[Segment, ...] = ()
    sha256_source: Literal["Stream", "ReadBack"] = "Stream"
    used_fallback: bool = False
    nulled: dict[str, int] = field(default_factory=dict)
    resumed: int = 0
    """How often the run went on from a checkpoint."""
    connections: int = 1
    """How many read at once, in one snapshot."""
    fewer_connections_because: str = ""
    """Why they were fewer than the source allows; empty when they were not."""
    redelivered_at: str = ""
    """When `redeliver` moved the export here out of the fallback; empty: it was written here at once."""

    def delivered(self, uri: str, manifest_uri: str) -> Delivered:
        """What is told of the export, which stands there."""
        return Delivered(
            uri=uri,
            manifest_uri=manifest_uri,
            rows=self.rows,
            bytes=sum(each.bytes for each in self.objects),
            sha256=self.objects[0].sha256 if self.layout == "SingleObject" else "",
            objects=len(self.objects),
            connections=self.connections,
            complete=self.complete,
            consistency=self.consistency,
            snapshot_time=self.snapshot_time,
            used_fallback=self.used_fallback,
            resumed=self.resumed,
            segments=max(1, len(self.segments)),
        )

    def to_json(self) -> str:
        return dumps(self)

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """Raises `ContractError`."""
        return loads(Manifest, text, strict=False)
