"""What a manifest in a bucket proves. Whoever may write there can write anything: its place must be its run's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_contract import names
from export_contract.codec import ContractError
from export_contract.manifest import Manifest
from export_contract.report import MAX_COUNT, Delivered
from export_contract.runspec import EXTENSIONS, SUFFIXES
from export_operator.domain import times
from export_operator.domain.model import Key

MAX_BYTES = 4 * 1024 * 1024  # what is larger is none of the exporter's
MAX_LENGTHS = {"namespace": 63, "name": 253, "uid": 64, "requester": 512}
"""Characters that the API server takes of them."""


class NotAManifestError(ValueError):
    """The object is not the manifest of the run whose place it is at; the message says why."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A run that was delivered. `time` is no earlier than its reservation; `bytes` are those of the stored objects."""

    run: str
    request: Key
    uid: str
    user: str
    source: str
    destination: str
    time: datetime
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Sought:
    """What came of looking for a run's manifest: `delivered`; or a `fault`, and nobody knows; or neither, for there is
    none."""

    delivered: Delivered | None = None
    fault: str = ""


def read(text: bytes, key: str, place: Mapping[str, Any]) -> tuple[Manifest, names.Keys]:
    """The manifest that stands under `key`, and the keys of its run. `place` is the spec of an ExportDestination, or
    the bucket of its fallback. Raises `NotAManifestError`."""
    manifest = _parsed(text)
    run = manifest.run
    keys = names.object_keys(
        prefix=place.get("prefix") or "",
        namespace=run.namespace,
        key_prefix=_between(key, place.get("prefix") or "", run.namespace, run.name, run.id),
        name=run.name,
        run=run.id,
        output_format=manifest.format,
        compression=manifest.compression,
    )
    if key != keys.manifest:
        raise NotAManifestError("it does not stand where the manifest of its run would")
    return manifest, keys


def _parsed(text: bytes) -> Manifest:
    try:
        manifest = Manifest.from_json(text)
    except ContractError as error:
        raise NotAManifestError(str(error)) from None
    run = manifest.run
    for field, most in MAX_LENGTHS.items():
        if not 0 < len(getattr(run, field)) <= most:
            raise NotAManifestError(f"run.{field} does not have 1 to {most} characters")
    if run.id != names.run_id(run.uid, run.run_id):
        raise NotAManifestError("run.id is not the run of its uid and runID")
    if manifest.format not in EXTENSIONS or manifest.compression not in SUFFIXES:
        raise NotAManifestError("format or compression is none of the exporter's")
    sizes = [each.bytes for each in manifest.objects]
    if not all(0 <= count <= MAX_COUNT for count in (manifest.rows, sum(sizes), *sizes)):
        raise NotAManifestError("rows or bytes are out of range")
    return manifest


def delivery(text: bytes, key: str, modified: datetime, place: Mapping[str, Any], destination: str) -> Delivery:
    """What the manifest under `key` proves; see `read`. `destination` is the name of the ExportDestination, `modified`
    S3's own word on the object's age. Raises `NotAManifestError`."""
    manifest, _ = read(text, key, place)
    return _delivery(manifest, modified, destination)


def artifact(text: bytes, run: str, created: datetime, destination: str) -> Delivery:
    """What the manifest in the row of `run` proves, in the database of a fallback; `created` is the database's word on
    the row's age. Raises `NotAManifestError`."""
    manifest = _parsed(text)
    if manifest.run.id != run:
        raise NotAManifestError("it is another run's")
    return _delivery(manifest, created, destination)


def _delivery(manifest: Manifest, written: datetime, destination: str) -> Delivery:
    run = manifest.run
    started = times.parse(manifest.started_at)
    if started is None:
        raise NotAManifestError("startedAt is no time")
    return Delivery(
        run=run.id,
        request=Key(run.namespace, run.name),
        uid=run.uid,
        user=run.requester,
        source=manifest.source,
        destination=destination,
        time=min(started, written),
        rows=manifest.rows,
        bytes=sum(each.bytes for each in manifest.objects),
    )


def delivered(text: bytes, key: str, run: str, place: Mapping[str, Any], *, fallback: bool) -> Delivered:
    """What the manifest under `key` tells of `run`; see `read`. `fallback`: the place is the destination's fallback.
    Raises `NotAManifestError`."""
    manifest, keys = read(text, key, place)
    if manifest.run.id != run:
        raise NotAManifestError("it is another run's")
    if manifest.used_fallback != fallback:
        raise NotAManifestError("usedFallback does not fit its place")
    if not manifest.objects:
        raise NotAManifestError("it tells of no object")
    bucket = str(place["bucket"])
    wanted = names.export_keys(keys.object, manifest.layout, len(manifest.objects))
    if [(each.bucket, each.key) for each in manifest.objects] != [(bucket, each) for each in wanted]:
        raise NotAManifestError("its objects are not the run's")
    return manifest.delivered(names.export_uri(bucket, keys.object, manifest.layout), f"s3://{bucket}/{key}")


def _between(key: str, prefix: str, namespace: str, name: str, run: str) -> str:
    """The request's `keyPrefix`, which the manifest does not tell."""
    head = "/".join(filter(None, (prefix.strip("/"), namespace))) + "/"
    tail = f"{name}/{run}/{names.MANIFEST}"
    return key[len(head) : -len(tail)] if key.startswith(head) and key.endswith(tail) else ""
