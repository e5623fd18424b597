"""Small documents in S3, read and written whole: manifests and checkpoints."""

from __future__ import annotations

from typing import Any

from export_contract.runspec import Destination
from export_runner.sinks.arguments import object_arguments
from export_runner.sinks.client import Caller

MAX_MANIFEST = 4 * 1024 * 1024
"""Bytes; what is larger is none of ours."""


def read(caller: Caller, bucket: str, key: str, most: int) -> tuple[bytes, str]:
    """The first `most` bytes and the ETag. Raises `S3Error` (also when there is none), `ExportError`, `Stopped`."""

    def get() -> tuple[bytes, str]:
        answer = caller.client.get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(most), answer["ETag"]

    return caller("GetObject", get)


def write(caller: Caller, destination: Destination, bucket: str, key: str, text: str, **condition: Any) -> str:
    """The ETag. `condition` is PutObject's `IfMatch` or `IfNoneMatch`. Raises `ExportError`, `Stopped`."""
    answer = caller(
        "PutObject",
        lambda: caller.client.put_object(
            Bucket=bucket,
            Key=key,
            Body=text.encode(),
            ContentType="application/json",
            ChecksumAlgorithm="CRC32",
            **object_arguments(destination),
            **condition,
        ),
    )
    return answer["ETag"]
