"""What the destination asks of every object becomes arguments of the calls that make one."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from export_contract.runspec import Destination, Encryption
from export_runner.sinks.arguments import data_arguments, object_arguments

pytestmark = pytest.mark.unit


def destination(**settings: Any) -> Destination:
    return Destination(name="exports", bucket="b", key="k", manifest_key="m", **settings)


@pytest.mark.parametrize(
    ("encryption", "arguments"),
    [
        (Encryption(), {}),
        (Encryption(mode="S3"), {"ServerSideEncryption": "AES256"}),
        (Encryption(mode="KMS"), {"ServerSideEncryption": "aws:kms"}),
        (
            Encryption(mode="KMS", kms_key_id="alias/exports", bucket_key=True),
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/exports", "BucketKeyEnabled": True},
        ),
        (Encryption(mode="S3", kms_key_id="alias/exports", bucket_key=True), {"ServerSideEncryption": "AES256"}),
    ],
)
def test_encryption_is_asked_for_as_its_mode_says(encryption: Encryption, arguments: dict[str, Any]) -> None:
    assert object_arguments(destination(encryption=encryption)) == arguments


def test_tags_keep_every_character() -> None:
    tags = {"team": "a & b = c", "größe": "+/ü"}
    made = object_arguments(destination(tags=tags))
    assert dict(parse_qsl(made["Tagging"], strict_parsing=True)) == tags


def test_our_own_metadata_goes_before_the_destinations() -> None:
    made = object_arguments(destination(metadata={"owner": "finance", "export-run": "x"}), {"export-run": "run"})
    assert made == {"Metadata": {"owner": "finance", "export-run": "run"}}


def test_the_storage_class_is_for_rows_alone_because_the_rest_is_read_again() -> None:
    asked = destination(storage_class="GLACIER")
    assert (data_arguments(asked), object_arguments(asked)) == ({"StorageClass": "GLACIER"}, {})
