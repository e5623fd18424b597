"""Where a run's objects stand: computed from request and destination, never read from status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from export_contract import names, runspec
from export_contract.report import Delivered
from export_operator.domain.model import Request
from export_operator.domain.policy import FALLBACKS

FALLBACK_SECONDS = 60
"""A fallback's deadline where the destination gives none, as the CRD's default does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """What makes a run's keys, but for the folder that a destination puts before them."""

    namespace: str
    key_prefix: str
    name: str
    run: str
    format: str
    compression: str
    layout: runspec.Layout

    def keys(self, place: Mapping[str, Any]) -> names.Keys:
        """`place` is a destination's spec, or the bucket of its fallback."""
        return names.object_keys(
            prefix=place.get("prefix") or "",
            namespace=self.namespace,
            key_prefix=self.key_prefix,
            name=self.name,
            run=self.run,
            output_format=self.format,
            compression=self.compression,
        )


def coordinates(request: Request, effective: Mapping[str, Any], run: str) -> Coordinates:
    """Those of a run of the request, in the form of `status.effective`. Only the object's own key depends on it."""
    return Coordinates(
        namespace=request.key.namespace,
        key_prefix=(request.spec.get("destination") or {}).get("keyPrefix") or "",
        name=request.key.name,
        run=run,
        format=str(effective.get("format") or FALLBACKS["format"]),
        compression=str(effective.get("compression") or FALLBACKS["compression"]),
        layout=effective.get("layout") or FALLBACKS["layout"],
    )


@dataclass(frozen=True, slots=True)
class Uris:
    """An object (the pattern of several) and its manifest, or what stands for them in a database."""

    object: str
    manifest: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run may have delivered: its destination, or the fallback if there is one."""

    destination: Uris
    fallback: Uris | None = None

    def of(self, delivered: Delivered) -> Uris | None:
        """The place that the exporter says it delivered to; None when it is none of the run's."""
        place = self.fallback if delivered.used_fallback else self.destination
        return place if place is not None and delivered.uri == place.object else None


def places(at: Coordinates, spec: Mapping[str, Any]) -> Places:
    """`spec` is that of the ExportDestination; empty when it is gone, and then no place is the run's."""
    keys, bucket = at.keys(spec), spec.get("bucket") or ""
    other = fallback_spec("", at, spec)
    return Places(
        Uris(names.export_uri(bucket, keys.object, at.layout), f"s3://{bucket}/{keys.manifest}"),
        Uris(names.fallback_uri(other, at.run, at.layout), names.fallback_manifest_uri(other, at.run))
        if other
        else None,
    )


def destination_spec(name: str, at: Coordinates, spec: Mapping[str, Any]) -> runspec.Destination:
    """The destination as the exporter is told of it."""
    keys = at.keys(spec)
    encryption = spec.get("encryption") or {}
    return runspec.Destination(
        name=name,
        bucket=spec["bucket"],
        key=keys.object,
        manifest_key=keys.manifest,
        region=spec.get("region") or "us-east-1",
        endpoint=spec.get("endpoint") or "",
        path_style=bool(spec.get("pathStyle")),
        checkpoint_bucket=spec.get("checkpointBucket") or "",
        checkpoint_key=keys.checkpoint,
        encryption=runspec.Encryption(
            mode=cast("Any", encryption.get("mode") or "Bucket"),
            kms_key_id=encryption.get("kmsKeyID") or "",
            bucket_key=bool(encryption.get("bucketKey")),
        ),
        storage_class=spec.get("storageClass") or "",
        tags=dict(spec.get("tags") or {}),
        metadata=dict(spec.get("metadata") or {}),
        fallback=fallback_spec(name, at, spec),
    )


def fallback_spec(name: str, at: Coordinates, spec: Mapping[str, Any]) -> runspec.Fallback | None:
    """The fallback of a destination; None when it has none."""
    given = spec.get("fallback") or {}
    bucket, database = given.get("bucket"), fallback_database(spec)
    if not bucket and database is None:
        return None
    return runspec.Fallback(
        name=name,
        bucket=_fallback_bucket(at, bucket) if bucket else None,
        database=database,
        deadline_seconds=int(given.get("deadlineSeconds") or FALLBACK_SECONDS),
        max_bytes=int(given.get("maxBytes") or 0),
    )


def _fallback_bucket(at: Coordinates, given: Mapping[str, Any]) -> runspec.FallbackBucket:
    keys = at.keys(given)
    return runspec.FallbackBucket(
        bucket=given["bucket"],
        key=keys.object,
        manifest_key=keys.manifest,
        region=given.get("region") or "us-east-1",
        endpoint=given.get("endpoint") or "",
        path_style=bool(given.get("pathStyle")),
    )


def fallback_database(spec: Mapping[str, Any]) -> runspec.FallbackDatabase | None:
    """The database that a destination falls back to; None when it has none, or a bucket."""
    fallback = spec.get("fallback") or {}
    given = fallback.get("database")
    if not given or fallback.get("bucket"):
        return None
    return runspec.FallbackDatabase(
        host=given["host"],
        port=int(given.get("port") or 5432),
        database=given["database"],
        ssl_mode=given.get("sslMode") or "Prefer",
        schema=given.get("schema") or "public",
    )
