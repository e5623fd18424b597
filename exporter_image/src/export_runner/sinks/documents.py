"""Small documents in S3, read and written whole: manifests and checkpoints."""

from __future__ import annotations

import zlib
from typing import Any

from export_contract.runspec import Destination
from export_runner.sinks.arguments import object_arguments
from export_runner.sinks.client import Caller
from export_runner.sinks.upload import encoded

MAX_MANIFEST = 4 * 1024 * 1024
"""Bytes; what is larger is none of ours."""


def read(caller: Caller, bucket: str, key: str, most: int) -> tuple[bytes, str]:
    """The first `most` bytes and the ETag. Raises `S3Error` (also when there is none), `ExportError`, `Stopped`."""

    def get() -> tuple[bytes, str]:
        answer = caller.client.get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(most), answer["ETag"]

    return caller("GetObject", get)


def write(caller: Caller, destination: Destination, bucket: str, key: str, text: str, **condition: Any) -> str:
    """The ETag. `condition` is PutObject's `IfMatch` or `IfNoneMatch`. Raises `ExportError`, `Stopped`.

    The checksum goes in a header: over TLS botocore would send its own behind the body, in chunks, which servers read
    less well. versitygw takes what remains of them for a request, and answers the next one with that one's failure.
    """
    data = text.encode()
    answer = caller(
        "PutObject",
        lambda: caller.client.put_object(
            Bucket=bucket,
            Key=key,
            Body=data,
            ContentType="application/json",
            ChecksumCRC32=encoded(zlib.crc32(data)),
            **object_arguments(destination),
            **condition,
        ),
    )
    return answer["ETag"]
