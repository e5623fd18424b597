"""A destination tried out with a tiny object, before much is read for it.

The real upload, begun before the first row, shows that bucket, credentials and key are right. It does not show what the
export ends with: whether parts may be sent (with SSE-KMS they need kms:Decrypt beside kms:GenerateDataKey), whether the
store completes an upload under the conditions and checksums that are asked for, and whether things may be taken back.
"""

from __future__ import annotations

import secrets
import zlib
from dataclasses import replace

from export_contract.runspec import Destination
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import S3Error
from export_runner.sinks.parts import Part
from export_runner.sinks.upload import Upload

_DATA = b"export-operator: a probe, which may be deleted\n"
_UNABORTED = (
    "The destination does not let the exporter abort uploads (s3:AbortMultipartUpload): those of failed exports stay,"
    " and cost. Allow it, or give the bucket a lifecycle rule that aborts incomplete uploads."
)
_UNDELETED = (
    "The destination does not let the exporter delete objects (s3:DeleteObject): probes and checkpoints stay under"
    " {folder}. Allow it there, or give that prefix a lifecycle rule."
)


def probe(caller: Caller, destination: Destination, run: str) -> tuple[str, ...]:
    """Makes an upload and aborts it; makes another one, completes and deletes it: beside the checkpoint, with the
    encryption, tags and storage class of the real one.

    What may not be taken back, as sentences. Raises `ExportError` where something cannot be written, `Stopped`.
    """
    folder = destination.checkpoint_key.rpartition("/")[0]
    place = replace(destination, key=f"{folder}/probe-{secrets.token_hex(8)}")
    first, second = (Upload(caller, place, run, "text/plain") for _ in range(2))
    crc = zlib.crc32(_DATA)
    warnings = []
    first.begin()
    if not first.abort():
        warnings.append(_UNABORTED)
    second.begin()
    try:
        second.send(Part(1, (_DATA,), crc))
        second.complete(len(_DATA), crc)
    except BaseException:
        second.abort()
        raise
    try:
        caller("DeleteObject", lambda: caller.client.delete_object(Bucket=caller.bucket, Key=place.key))
    except S3Error as error:
        if error.transient:
            raise
        warnings.append(_UNDELETED.format(folder=folder))
    return tuple(warnings)
