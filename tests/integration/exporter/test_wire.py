"""What goes over the wire to S3, request by request: each carries what the destination asks for, and no more."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from export_contract.failures import Failure
from export_contract.runspec import Encryption, Limits, RunSpec
from export_runner.sinks.upload import encoded
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services.recorder import Call, Recorder, recorder
from tests.services.tls import Authority

pytestmark = pytest.mark.integration

KMS = Encryption(mode="KMS", kms_key_id="alias/exports", bucket_key=True)
ASKED: dict[str, Any] = {
    "tags": {"owner": "data platform", "cost centre": "a+b=c/d:e@f"},
    "metadata": {"classification": "internal"},
    "storage_class": "STANDARD_IA",
}
ENCRYPTED = {
    "Bucket": {},
    "S3": {"x-amz-server-side-encryption": "AES256"},
    "KMS": {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "alias/exports",
        "x-amz-server-side-encryption-bucket-key-enabled": "true",
    },
}
TAGGED = {
    "x-amz-tagging": "owner=data+platform&cost+centre=a%2Bb%3Dc%2Fd%3Ae%40f",
    "x-amz-meta-classification": "internal",
}
COLD = {"x-amz-storage-class": "STANDARD_IA"}
OF_EVERY_REQUEST = {"x-amz-date", "x-amz-content-sha256"}
SMALL = Limits(block_bytes=1024 * 1024, part_bytes=5 * 1024 * 1024)


@pytest.fixture
def wire(exporter: Exporter) -> Iterator[Recorder]:
    with recorder(exporter.s3.port) as made:
        yield made


def through(exporter: Exporter, wire: Recorder, **destination: Any) -> RunSpec:
    """Several parts, and a checkpoint after each."""
    spec = exporter.spec(limits=SMALL)
    checkpoint = spec.destination.manifest_key.replace("manifest", "checkpoint")
    there = replace(spec.destination, endpoint=wire.endpoint, checkpoint_key=checkpoint, **destination)
    return replace(spec, destination=there, resume="Always")


def own(call: Call) -> dict[str, str]:
    """The headers that say something of the object."""
    return {
        name: value
        for name, value in call.headers.items()
        if name.startswith(("x-amz-", "if-", "content-type")) and name not in OF_EVERY_REQUEST
    }


@pytest.mark.parametrize("encryption", [Encryption(), Encryption(mode="S3"), KMS], ids=lambda each: each.mode)
def test_each_request_carries_what_the_destination_asks_for_and_no_more(
    exporter: Exporter, wire: Recorder, encryption: Encryption
) -> None:
    spec = through(exporter, wire, encryption=encryption, **ASKED)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    asked = ENCRYPTED[encryption.mode] | TAGGED
    (created,) = wire.of("CreateMultipartUpload")
    sent = own(created)
    nonce = sent.pop("x-amz-meta-export-upload")
    assert (len(nonce), sent) == (
        32,
        asked
        | COLD
        | {
            "content-type": "text/csv; charset=utf-8; header=present",
            "x-amz-meta-export-run": spec.run.id,
            "x-amz-checksum-algorithm": "CRC32",
            "x-amz-checksum-type": "FULL_OBJECT",
        },
    )
    parts = wire.of("UploadPart")
    assert len(parts) > 2
    assert [own(part) for part in parts] == [{"x-amz-checksum-crc32": encoded(zlib.crc32(part.body))} for part in parts]
    (completed,) = wire.of("CompleteMultipartUpload")
    sent = own(completed)
    assert set(sent) == {
        *("x-amz-checksum-crc32", "x-amz-checksum-type", "x-amz-mp-object-size", "if-none-match", "content-type")
    } - ({"content-type"} - set(sent))
    assert (sent["x-amz-checksum-type"], sent["if-none-match"]) == ("FULL_OBJECT", "*")
    written = wire.of("PutObject")
    assert {call.path for call in written} == {
        f"/{BUCKET}/{key}" for key in (spec.destination.manifest_key, spec.destination.checkpoint_key)
    }
    for call in written:
        sent = own(call)
        assert sent.pop("x-amz-checksum-crc32") == encoded(zlib.crc32(call.body))
        assert {name: value for name, value in sent.items() if not name.startswith("if-")} == asked | {
            "content-type": "application/json",
        }


def test_each_object_of_several_carries_it_as_well(exporter: Exporter, wire: Recorder) -> None:
    spec = through(exporter, wire, encryption=KMS, **ASKED)
    several = replace(spec.output, layout="PartObjects")
    spec = replace(spec, output=several, limits=replace(SMALL, object_bytes=6 * 1024 * 1024))
    done = exporter.run(spec)
    assert done.code == 0, done.said
    created = [own(call) for call in wire.of("CreateMultipartUpload")]
    asked = ENCRYPTED["KMS"] | TAGGED | COLD
    assert len(created) > 2
    assert [{name: sent.get(name) for name in asked} for sent in created] == [asked] * len(created)


def test_no_other_request_says_anything_of_the_object(exporter: Exporter, wire: Recorder) -> None:
    spec = through(exporter, wire, encryption=KMS, **ASKED)
    assert exporter.run(spec).code == 0
    rest = {"GetObject", "HeadObject", "ListMultipartUploads", "ListParts", "DeleteObject"}
    said = {name: own(call) for name in rest for call in wire.of(name)}
    assert {name: set(headers) - {"if-match"} for name, headers in said.items()} == {name: set() for name in said}
    known = {*rest, "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"}
    assert {call.operation for call in wire.calls} <= known


@pytest.mark.parametrize("operation", ["UploadPart", "PutObject"])
def test_a_body_that_was_changed_behind_tls_is_refused_each_time(
    exporter: Exporter, authority: Authority, operation: str
) -> None:
    """TLS covers it on its way, and the CRC32 in its request's headers whatever stands behind TLS."""
    struck: list[str] = []

    def damage(call: Call) -> bytes:
        if call.operation != operation:
            return call.body
        struck.append(call.headers["x-amz-content-sha256"])
        at = len(call.body) // 2
        return call.body[:at] + bytes([call.body[at] ^ 1]) + call.body[at + 1 :]

    with recorder(exporter.s3.port, damage=damage, tls=authority.issue("wire", "IP:127.0.0.1")) as wire:
        spec = replace(through(exporter, wire), resume="Never")
        done = exporter.run(spec, AWS_CA_BUNDLE=str(authority.certificate))
    assert (done.reason, "Gave up after 4 tries" in done.message) == (Failure.DESTINATION_UNAVAILABLE, True), done.said
    assert set(struck) == {"UNSIGNED-PAYLOAD"}  # as one piece, with nothing behind it
    assert "manifest.json" not in exporter.keys(spec)
