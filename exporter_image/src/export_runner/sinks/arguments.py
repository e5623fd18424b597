"""What every object that a run writes carries: encryption, tags, metadata; what holds rows has its storage class too.

Parameters of CreateMultipartUpload and PutObject:
docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html, in the names of botocore.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from export_contract.runspec import Destination, Encryption

_ALGORITHMS: Mapping[str, str] = {"S3": "AES256", "KMS": "aws:kms"}


def object_arguments(destination: Destination, own: Mapping[str, str] | None = None) -> dict[str, Any]:
    """For manifests and checkpoints. `own` is metadata of ours, which goes before the destination's.

    Without the storage class: an archive's objects cannot be read at once, and these are read again.
    """
    arguments = _encryption(destination.encryption)
    if destination.tags:
        arguments["Tagging"] = urlencode(destination.tags)
    if metadata := {**destination.metadata, **(own or {})}:
        arguments["Metadata"] = metadata
    return arguments


def data_arguments(destination: Destination, own: Mapping[str, str] | None = None) -> dict[str, Any]:
    """For objects of rows."""
    arguments = object_arguments(destination, own)
    if destination.storage_class:
        arguments["StorageClass"] = destination.storage_class
    return arguments


def _encryption(encryption: Encryption) -> dict[str, Any]:
    """Nothing for mode Bucket: the bucket's own default holds."""
    if encryption.mode not in _ALGORITHMS:
        return {}
    arguments: dict[str, Any] = {"ServerSideEncryption": _ALGORITHMS[encryption.mode]}
    if encryption.mode == "KMS":
        if encryption.kms_key_id:
            arguments["SSEKMSKeyId"] = encryption.kms_key_id
        if encryption.bucket_key:
            arguments["BucketKeyEnabled"] = True
    return arguments
