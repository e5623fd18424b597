"""The manifest beside a delivered object: written last, it is the commit point and the auditor's proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_contract.codec import dumps, loads
from export_contract.runspec import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A delivered column: its name and PostgreSQL's name of its type (`numeric(14,2)`)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One object of the export. `sha256` is hex, over the stored bytes."""

    bucket: str
    key: str
    bytes: int
    sha256: str
    etag: str
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Times are RFC 3339 in UTC; `snapshot` is PostgreSQL's `pg_current_snapshot()` of the rows."""

    version: Literal[1] = 1
    run: Run
    source: str
    dataset: str
    format: str
    compression: str
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

    def to_json(self) -> str:
        return dumps(self)

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """Raises `ContractError`."""
        return loads(Manifest, text)
