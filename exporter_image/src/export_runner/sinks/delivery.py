"""The commit: the manifest beside the object, written last. Who finds it need not export again."""

from __future__ import annotations

from export_contract.codec import ContractError
from export_contract.manifest import Manifest, ObjectRef
from export_contract.names import export_keys, export_uri
from export_contract.report import Delivered
from export_contract.runspec import Destination
from export_runner.sinks import documents
from export_runner.sinks.checkpoints import Fenced
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import ABSENT, NOT_READABLE, REPLACED, S3Error


def read(caller: Caller, destination: Destination, run: str) -> Manifest | None:
    """This run's manifest, if one is there. Raises `ExportError`."""
    return _read(caller, destination, run)[0]


def _read(caller: Caller, destination: Destination, run: str) -> tuple[Manifest | None, str]:
    """See `read`; and the ETag of what stands there, "" if it is nothing, or nothing that may be read."""
    try:
        text, etag = documents.read(caller, caller.bucket, destination.manifest_key, documents.MAX_MANIFEST)
    except S3Error as error:
        if error.code in ABSENT | NOT_READABLE:
            return None, ""
        raise
    try:
        manifest = Manifest.from_json(text)
    except ContractError:
        return None, etag
    keys = export_keys(destination.key, manifest.layout, len(manifest.objects))
    ours = manifest.run.id == run and [each.key for each in manifest.objects] == keys
    return manifest if ours else None, etag


def proven(caller: Caller, manifest: Manifest | None) -> bool:
    """Is all there that the manifest tells of? Raises `ExportError`."""
    return manifest is not None and all(stands(caller, each) for each in manifest.objects)


def stands(caller: Caller, told: ObjectRef) -> bool:
    """Is the object there, as it was stored? Raises `ExportError`."""
    try:
        head = caller.head(told.key)
    except S3Error as error:
        if error.code in ABSENT | NOT_READABLE:
            return False
        raise
    return head["ContentLength"] == told.bytes and head["ETag"].strip('"') == told.etag


def commit(caller: Caller, destination: Destination, manifest: Manifest) -> Delivered:
    """Writes the manifest where none stands, so that a process that slept before this call replaces nobody's.

    What stands there and tells the same counts as written: by a try whose answer was lost, or by another process. What
    is none of this run, or tells of an object that is not there, is replaced. Raises `Fenced`, `ExportError`,
    `Stopped`.
    """
    text, condition = manifest.to_json(), {"IfNoneMatch": "*"}
    for again in (True, False):
        try:
            documents.write(caller, destination, caller.bucket, destination.manifest_key, text, **condition)
            return delivered(manifest, destination)
        except S3Error as error:
            if error.code not in REPLACED | ABSENT:
                raise
        found, etag = _read(caller, destination, manifest.run.id)
        if found is not None and _same(found, manifest):
            return delivered(found, destination)
        if not again or not etag or proven(caller, found):
            break
        condition = {"IfMatch": etag}
    raise Fenced


def _same(found: Manifest, manifest: Manifest) -> bool:
    """Do both tell the same of the same bytes? When and by how many attempts they were made may differ."""
    told = (found.run, found.objects, found.rows, found.complete)
    return told == (manifest.run, manifest.objects, manifest.rows, manifest.complete)


def delivered(manifest: Manifest, destination: Destination) -> Delivered:
    """What the operator is told of an export in a bucket, from the manifest alone."""
    return manifest.delivered(
        export_uri(destination.bucket, destination.key, manifest.layout),
        f"s3://{destination.bucket}/{destination.manifest_key}",
    )
