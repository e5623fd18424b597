"""Names and keys that follow from a run, computed alike on both sides and never read from status."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote

from export_contract.runspec import EXTENSIONS, SUFFIXES, Fallback, FallbackDatabase, Layout

MANIFEST = "manifest.json"
CHECKPOINTS = ".export-operator"
"""The folder of all checkpoints under a destination's prefix."""
ARTIFACTS, ARTIFACT_PARTS = "export_artifacts", "export_artifact_parts"
"""The tables of a fallback that is a database."""

RUN_SPAN = "run"
"""The span of a run from its Job to the Job's end."""
_RUN = re.compile("[0-9a-f]{20}")


def run_id(uid: str, run_id: str) -> str:
    """The run of (request UID, `spec.runID`) as 20 hex digits: 80 bits, so that no two runs share one."""
    return hashlib.sha256(f"{uid}/{run_id}".encode()).hexdigest()[:20]


def trace_id(run: str) -> str:
    """The run's trace as 32 hex digits (W3C Trace Context): it begins with the run. Whoever knows the run knows it, so
    that restarts and other replicas carry on the same trace."""
    digest = hashlib.sha256(f"trace/{run}".encode()).hexdigest()
    return run + digest[:12] if _RUN.fullmatch(run) else digest[:32]


def span_id(run: str, name: str) -> str:
    """A span of the run's trace that every process calls the same, as 16 hex digits."""
    return hashlib.sha256(f"span/{run}/{name}".encode()).hexdigest()[:16]


def traceparent(run: str) -> str:
    """What the spans of a run's pods belong to, as W3C Trace Context writes it: the span `RUN_SPAN`, recorded."""
    return f"00-{trace_id(run)}-{span_id(run, RUN_SPAN)}-01"


def job_name(run: str) -> str:
    """The Job of a run (26 characters, so that pod names derived from it stay within 63)."""
    return f"export-{run}"


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a run: object, manifest, and checkpoint, which stands apart from all data."""

    object: str
    manifest: str
    checkpoint: str


def object_keys(
    *, prefix: str, namespace: str, key_prefix: str, name: str, run: str, output_format: str, compression: str
) -> Keys:
    """`<prefix>/<namespace>/<keyPrefix>/<name>/<run>/`: no tenant reaches another's prefix, a new run never meets
    an older object. Empty prefixes leave no empty segment."""
    segments = [segment.strip("/") for segment in (prefix, namespace, key_prefix, name, run)]
    folder = "/".join(segment for segment in segments if segment)
    # Parquet and Arrow compress inside: their names carry no suffix.
    suffix = "" if output_format in {"Parquet", "ArrowStream"} else SUFFIXES[compression]
    apart = "/".join(filter(None, (prefix.strip("/"), CHECKPOINTS, run)))
    return Keys(
        f"{folder}/{name}{EXTENSIONS[output_format]}{suffix}", f"{folder}/{MANIFEST}", f"{apart}/checkpoint.json"
    )


def part_object_key(key: str, number: int) -> str:
    """Layout PartObjects: the key of object `number`, from 1, made of the run's object key: `users-00001.csv.gz`."""
    return _part_object(key, f"{number:05d}")


def export_keys(key: str, layout: Layout, count: int) -> list[str]:
    """The keys of the `count` objects of an export, in order, made of the run's object key."""
    if layout == "SingleObject":
        return [key]
    return [part_object_key(key, number) for number in range(1, count + 1)]


def export_key(key: str, layout: Layout) -> str:
    """An export's object, or the pattern of its objects' keys, `…/users-*.csv.gz`, made of the run's object key."""
    return key if layout == "SingleObject" else _part_object(key, "*")


def export_uri(bucket: str, key: str, layout: Layout) -> str:
    """Where an export stands, `s3://exports/…`; see `export_key`."""
    return f"s3://{bucket}/{export_key(key, layout)}"


def _part_object(key: str, number: str) -> str:
    folder, slash, file = key.rpartition("/")
    stem, dot, extension = file.partition(".")
    return f"{folder}{slash}{stem}-{number}{dot}{extension}"


def fallback_uri(fallback: Fallback, run: str, layout: Layout = "SingleObject") -> str:
    """Where a run's export stands when it went to the fallback; no credentials are in it.

    A bucket: see `export_uri`. A database: see `artifact_uri`.
    """
    if fallback.bucket is not None:
        return export_uri(fallback.bucket.bucket, fallback.bucket.key, layout)
    assert fallback.database is not None, "a fallback is one or the other"
    return artifact_uri(fallback.database, run)


def fallback_manifest_uri(fallback: Fallback, run: str) -> str:
    """Its manifest; in a database that is a column of the artifact's own row, so the URI is the same."""
    if fallback.bucket is not None:
        return f"s3://{fallback.bucket.bucket}/{fallback.bucket.manifest_key}"
    return fallback_uri(fallback, run)


def artifact_uri(database: FallbackDatabase, run: str) -> str:
    """`postgresql://<host>:<port>/<database>/<schema>.export_artifacts/<run>`, names percent-encoded; an IPv6 address
    stands in brackets."""
    host = f"[{database.host}]" if ":" in database.host else database.host
    name, schema = (quote(each, safe="") for each in (database.database, database.schema))
    return f"postgresql://{host}:{database.port}/{name}/{schema}.{ARTIFACTS}/{run}"
