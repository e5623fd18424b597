"""RunSpec: everything a pod needs to know to export one run, except credentials (see `environment`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_contract.codec import ContractError, dumps, loads

SSLMode = Literal["Disable", "Prefer", "Require", "VerifyCA", "VerifyFull"]
Format = Literal["CSV", "JSON", "NDJSON", "Parquet"]
Compression = Literal["None", "Gzip", "Zstd"]
Layout = Literal["SingleObject"]
ParameterType = Literal["text", "integer", "bigint", "numeric", "boolean", "date", "timestamp", "timestamptz", "uuid"]

EXTENSIONS: dict[str, str] = {"CSV": ".csv", "JSON": ".json", "NDJSON": ".ndjson", "Parquet": ".parquet"}
SUFFIXES: dict[str, str] = {"None": "", "Gzip": ".gz", "Zstd": ".zst"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Which run this is. `id` is derived from the request's UID and its `spec.runID` (`names.run_id`)."""

    id: str
    namespace: str
    name: str
    uid: str
    run_id: str = ""
    requester: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, view or foreign table. Both names are identifiers, quoted by the exporter."""

    schema: str
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A value for `{name}` in the dataset's query: text, validated and rendered as a literal of `type`."""

    name: str
    type: ParameterType
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from: exactly one of `relation` and `query`, and the columns to deliver, in order."""

    name: str
    dataset: str
    host: str
    database: str
    columns: tuple[str, ...]
    port: int = 5432
    ssl_mode: SSLMode = "Prefer"
    relation: Relation | None = None
    query: str | None = None
    parameters: tuple[Parameter, ...] = ()
    order_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.relation is None) == (self.query is None):
            raise ContractError("exactly one of 'relation' and 'query' must be given")
        if not self.columns:
            raise ContractError("'columns' must name at least one column")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the object goes. `key` and `manifest_key` are whole keys; `endpoint` empty means AWS."""

    name: str
    bucket: str
    key: str
    manifest_key: str
    region: str = "us-east-1"
    endpoint: str = ""
    path_style: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The form of the object."""

    format: Format = "CSV"
    compression: Compression = "None"
    layout: Layout = "SingleObject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one attempt. Sizes are bytes; 0 means no limit for `max_rows` and `max_bytes`."""

    run_deadline_seconds: int = 60
    on_deadline: Literal["Fail", "Partial"] = "Fail"
    max_rows: int = 0
    max_bytes: int = 0
    block_rows: int = 65_536
    block_bytes: int = 4 * 1024 * 1024
    part_bytes: int = 8 * 1024 * 1024
    max_value_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run, whole. `version` changes when an older exporter could misread the document."""

    version: Literal[1] = 1
    run: Run
    source: Source
    destination: Destination
    output: Output = Output()
    limits: Limits = Limits()
    consistency: Literal["Auto", "Snapshot", "Segmented"] = "Auto"

    def to_json(self) -> str:
        """One line of JSON."""
        return dumps(self)

    @staticmethod
    def from_json(text: str | bytes) -> RunSpec:
        """Raises `ContractError` naming the path at fault."""
        return loads(RunSpec, text)
