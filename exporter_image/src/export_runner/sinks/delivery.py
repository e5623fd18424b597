"""The commit: the manifest beside the object, written last. Who finds it need not export again."""

from __future__ import annotations

from export_contract.codec import ContractError
from export_contract.manifest import Manifest
from export_contract.report import Delivered
from export_contract.runspec import Destination
from export_runner.sinks import documents
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import ABSENT, NOT_READABLE, S3Error


def find(caller: Caller, destination: Destination, run: str) -> Manifest | None:
    """This run's manifest, if one is there and the object that it tells of is too. Raises `ExportError`."""
    try:
        text, _ = documents.read(caller, caller.bucket, destination.manifest_key, documents.MAX_MANIFEST)
        manifest = Manifest.from_json(text)
    except S3Error as error:
        if error.code in ABSENT | NOT_READABLE:
            return None
        raise
    except ContractError:
        return None
    return manifest if manifest.run.id == run and _stands(caller, destination, manifest) else None


def _stands(caller: Caller, destination: Destination, manifest: Manifest) -> bool:
    if [each.key for each in manifest.objects] != [destination.key]:
        return False
    told = manifest.objects[0]
    try:
        head = caller.head(told.key)
    except S3Error as error:
        if error.code in ABSENT:
            return False
        raise
    return head["ContentLength"] == told.bytes and head["ETag"].strip('"') == told.etag


def commit(caller: Caller, destination: Destination, manifest: Manifest) -> Delivered:
    """Writes the manifest. Raises `ExportError`, `Stopped`."""
    documents.write(caller, destination, caller.bucket, destination.manifest_key, manifest.to_json())
    return delivered(manifest, destination)


def delivered(manifest: Manifest, destination: Destination) -> Delivered:
    """What the operator is told, from the manifest alone."""
    stored = manifest.objects[0]
    return Delivered(
        uri=f"s3://{stored.bucket}/{stored.key}",
        manifest_uri=f"s3://{destination.bucket}/{destination.manifest_key}",
        rows=manifest.rows,
        bytes=stored.bytes,
        sha256=stored.sha256,
        complete=manifest.complete,
        consistency=manifest.consistency,
        snapshot_time=manifest.snapshot_time,
        used_fallback=manifest.used_fallback,
        resumed=manifest.resumed,
        segments=max(1, len(manifest.segments)),
    )
