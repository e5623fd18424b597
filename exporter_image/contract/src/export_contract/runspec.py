"""RunSpec: everything a pod needs to know to export one run, except credentials (see `environment`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from export_contract.codec import ContractError, dumps, loads

SSLMode = Literal["Disable", "Prefer", "Require", "VerifyCA", "VerifyFull"]
Format = Literal["CSV", "JSON", "NDJSON", "Parquet", "ArrowStream"]
Compression = Literal["None", "Gzip", "Zstd"]
Layout = Literal["SingleObject", "PartObjects"]
Resume = Literal["Auto", "Always", "Never"]
Consistency = Literal["Auto", "Snapshot", "Segmented"]
ParameterType = Literal["text", "integer", "bigint", "numeric", "boolean", "date", "timestamp", "timestamptz", "uuid"]

EXTENSIONS: dict[str, str] = {
    "CSV": ".csv",
    "JSON": ".json",
    "NDJSON": ".ndjson",
    "Parquet": ".parquet",
    "ArrowStream": ".arrows",
}
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
    digest: str = ""


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
class Mask:
    """What becomes of a column's values before they leave PostgreSQL; NULL stays NULL.

    Hash: hex HMAC-SHA-256 under the key in `environment.MASK_KEY`. Redact: `text`. Partial: `keep_first` and
    `keep_last` characters stay, each one between becomes `text` (`*` when empty). Null: NULL.
    """

    column: str
    kind: Literal["Hash", "Redact", "Partial", "Null"]
    text: str = ""
    keep_first: int = 0
    keep_last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from: exactly one of `relation` and `query`, and the columns to deliver, in order.

    `key` names the columns of a unique key, for ordered reading and resume; empty: that of the relation is looked up.
    `row_filter` is a condition in SQL, written by the platform team. `connections` read at once, from one snapshot.
    """

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
    key: tuple[str, ...] = ()
    masks: tuple[Mask, ...] = ()
    row_filter: str = ""
    allow_privileged_role: bool = False
    connections: int = 1

    def __post_init__(self) -> None:
        if (self.relation is None) == (self.query is None):
            raise ContractError("exactly one of 'relation' and 'query' must be given")
        if not self.columns:
            raise ContractError("'columns' must name at least one column")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """Server-side encryption of every object that a run writes. `kms_key_id` empty: the account's default key."""

    mode: Literal["Bucket", "S3", "KMS"] = "Bucket"
    kms_key_id: str = ""
    bucket_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackBucket:
    """A second bucket, with credentials of its own in `environment.FALLBACK_*`."""

    bucket: str
    key: str
    manifest_key: str
    region: str = "us-east-1"
    endpoint: str = ""
    path_style: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackDatabase:
    """Tables for artifacts in a database of the platform team; never the source's."""

    host: str
    database: str
    port: int = 5432
    ssl_mode: SSLMode = "Prefer"
    schema: str = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Where the rows go when the destination cannot be reached: exactly one of `bucket` and `database`.

    `deadline_seconds` begin when the fallback does; `max_bytes` 0 means no limit.
    """

    name: str
    bucket: FallbackBucket | None = None
    database: FallbackDatabase | None = None
    deadline_seconds: int = 60
    max_bytes: int = 0

    def __post_init__(self) -> None:
        if (self.bucket is None) == (self.database is None):
            raise ContractError("exactly one of 'bucket' and 'database' must be given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the object goes. `key` and `manifest_key` are whole keys; `endpoint` empty means AWS.

    `checkpoint_key` is the whole key of the run's checkpoint, in `checkpoint_bucket` (empty: in `bucket`); empty: none
    is written.
    """

    name: str
    bucket: str
    key: str
    manifest_key: str
    region: str = "us-east-1"
    endpoint: str = ""
    path_style: bool = False
    checkpoint_bucket: str = ""
    checkpoint_key: str = ""
    encryption: Encryption = Encryption()
    storage_class: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvOptions:
    """`null_text` is what stands for NULL. `neutralise_formulas` puts an apostrophe before texts that a spreadsheet
    would take for a formula."""

    delimiter: str = ","
    header: bool = True
    null_text: str = ""
    quoting: Literal["Needed", "Text", "All"] = "Needed"
    line_end: Literal["LF", "CRLF"] = "LF"
    neutralise_formulas: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOptions:
    """`big_numbers` speaks of int8 and numeric; `non_finite` of NaN and infinities in numbers."""

    big_numbers: Literal["Number", "String"] = "Number"
    non_finite: Literal["String", "Refuse"] = "String"
    bytea: Literal["Hex", "Base64"] = "Hex"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The form of the object. `on_unrepresentable` is for values that a typed format has no place for: end the run,
    deliver columns that could hold such values as text, or NULL, counted in the manifest."""

    format: Format = "CSV"
    compression: Compression = "None"
    layout: Layout = "SingleObject"
    on_unrepresentable: Literal["Refuse", "ColumnAsText", "Null"] = "Refuse"
    csv: CsvOptions = CsvOptions()
    json: JsonOptions = JsonOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one attempt. Sizes are bytes; 0 means no limit for `max_rows` and `max_bytes`, and what the format does
    best with for `block_bytes`."""

    run_deadline_seconds: int = 60
    on_deadline: Literal["Fail", "Partial"] = "Fail"
    max_rows: int = 0
    max_bytes: int = 0
    block_rows: int = 65_536
    block_bytes: int = 0
    part_bytes: int = 8 * 1024 * 1024
    max_value_bytes: int = 16 * 1024 * 1024
    object_bytes: int = 256 * 1024 * 1024
    """Layout PartObjects: an object ends with the block that reaches so many encoded bytes."""
    resume_above_bytes: int = 1024 * 1024 * 1024
    """`resume: Auto`: a run whose estimate is larger is read in the order of its key, with a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run, whole. A field that is not known is an error, and a new one has a default: a Job's pods are of the
    release that made it, but a later one reads it, to clean up. `version` changes when it could misread it.

    `traceparent` (W3C Trace Context) is what the attempt's spans belong to; None: it tells nobody of them."""

    version: Literal[1] = 1
    run: Run
    source: Source
    destination: Destination
    output: Output = Output()
    limits: Limits = Limits()
    consistency: Consistency = "Auto"
    resume: Resume = "Auto"
    traceparent: str | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return dumps(self)

    @staticmethod
    def from_json(text: str | bytes) -> RunSpec:
        """Raises `ContractError` naming the path at fault."""
        return loads(RunSpec, text)
