"""One multipart upload: nothing is visible before `complete`, nothing is left after `abort`.

docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. Each part carries its CRC32, and the whole is checked
against the CRC32 of the whole object, so bytes that change on their way are refused by S3.
"""

from __future__ import annotations

import base64
import secrets
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

from export_contract.runspec import Destination
from export_runner.checkpoint import Listed
from export_runner.errors import ExportError
from export_runner.sinks.arguments import data_arguments
from export_runner.sinks.body import Body
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import ABSENT, NO_UPLOAD, NOT_READABLE, S3Error
from export_runner.sinks.parts import Part

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        CreateMultipartUploadOutputTypeDef,
        PartTypeDef,
    )

RUN_KEY = "export-run"
UPLOAD_KEY = "export-upload"
"""User metadata of the object: which run, and which upload of it. By the second a lost answer is told from a stranger's
object."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The object as S3 has it."""

    etag: str
    parts: int


@dataclass(slots=True)
class Upload:
    """Begin, then parts from any thread, then complete or abort. Raises `ExportError` and `Stopped` throughout."""

    caller: Caller
    destination: Destination
    run: str
    content_type: str
    upload_id: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    _sent: dict[int, CompletedPartTypeDef] = field(default_factory=dict)
    _stored: Stored | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Also the preflight: it needs the bucket, and the right to write the key."""
        tries = 0

        def create() -> CreateMultipartUploadOutputTypeDef:
            nonlocal tries
            tries += 1
            return self.caller.client.create_multipart_upload(
                Bucket=self.destination.bucket,
                Key=self.destination.key,
                ContentType=self.content_type,
                ChecksumAlgorithm="CRC32",
                ChecksumType="FULL_OBJECT",
                **data_arguments(self.destination, {RUN_KEY: self.run, UPLOAD_KEY: self.nonce}),
            )

        self.upload_id = self.caller("CreateMultipartUpload", create)["UploadId"]
        if tries > 1:  # one whose answer was lost would stay for ever
            key = self.destination.key
            abort_strangers(self.caller, key, lambda other: other == key, but=self.upload_id)

    def go_on(self, upload_id: str, nonce: str) -> dict[int, Listed] | None:
        """Takes over an upload that another process began: its parts by number; None when it is not there."""
        self.upload_id, self.nonce = upload_id, nonce
        try:
            return {
                int(each["PartNumber"]): Listed(each["ETag"], each["Size"], decoded(each.get("ChecksumCRC32", "")))
                for each in self._listed()
            }
        except S3Error as error:
            if error.code in NO_UPLOAD:
                return None
            raise

    def count(self, listed: Mapping[int, Listed], parts: int) -> None:
        """The first `parts` parts are those of another process. Later ones are sent again."""
        for number in range(1, parts + 1):
            each = listed[number]
            self._sent[number] = {"PartNumber": number, "ETag": each.etag}
            if each.crc32 is not None:
                self._sent[number]["ChecksumCRC32"] = encoded(each.crc32)

    def etags(self, parts: int) -> list[str]:
        """Of the first `parts` parts, all of which were sent."""
        with self._lock:
            return [self._sent[number].get("ETag", "") for number in range(1, parts + 1)]

    def _listed(self) -> Iterator[PartTypeDef]:
        marker = 0
        while True:
            answer = self.caller(
                "ListParts",
                lambda after=marker: self.caller.client.list_parts(  # type: ignore[misc]
                    Bucket=self.destination.bucket,
                    Key=self.destination.key,
                    UploadId=self.upload_id,
                    PartNumberMarker=after,
                ),
            )
            yield from answer.get("Parts", [])
            if not answer.get("IsTruncated"):
                return
            marker = answer["NextPartNumberMarker"]

    def send(self, part: Part) -> None:
        """Parts may be sent in any order and again: the last one of a number counts."""
        checksum = encoded(part.crc32)
        answer = self.caller(
            "UploadPart",
            lambda: self.caller.client.upload_part(
                Bucket=self.destination.bucket,
                Key=self.destination.key,
                UploadId=self.upload_id,
                PartNumber=part.number,
                Body=cast("IO[bytes]", Body(part.pieces)),
                ChecksumCRC32=checksum,
            ),
        )
        with self._lock:
            self._sent[part.number] = {"PartNumber": part.number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}

    def complete(self, size: int, crc32: int, *, replacing: str | None = "") -> Stored:
        """Makes the object visible. When the answer is lost, the object that is there tells whether it was ours.

        `replacing` is the ETag of the object that may stand there, "" for none: any other is left alone, with the code
        PreconditionFailed. None asks nothing.
        """
        if self._stored is not None:
            return self._stored
        condition: dict[str, Any] = {}
        if replacing is not None:
            condition = {"IfMatch": replacing} if replacing else {"IfNoneMatch": "*"}
        parts = [self._sent[number] for number in sorted(self._sent)]
        try:
            answer = self.caller(
                "CompleteMultipartUpload",
                lambda: self.caller.client.complete_multipart_upload(
                    Bucket=self.destination.bucket,
                    Key=self.destination.key,
                    UploadId=self.upload_id,
                    MultipartUpload={"Parts": parts},
                    ChecksumCRC32=encoded(crc32),
                    ChecksumType="FULL_OBJECT",
                    MpuObjectSize=size,
                    **condition,
                ),
            )
        except S3Error as error:
            if error.code not in NO_UPLOAD or (etag := self._made(size)) is None:
                raise
            return Stored(etag, len(parts))
        return Stored(answer["ETag"].strip('"'), len(parts))

    def stands(self, size: int, parts: int) -> bool:
        """Is what this upload makes there already? Then it is complete. Raises `ExportError`."""
        etag = self._made(size)
        self._stored = Stored(etag, parts) if etag is not None else None
        return etag is not None

    def standing(self) -> str:
        """The ETag of the object that is there; "" if none is, or none that may be read."""
        try:
            return self.caller.head(self.destination.key)["ETag"]
        except S3Error as error:
            if error.code in ABSENT | NOT_READABLE:
                return ""
            raise

    def _made(self, size: int) -> str | None:
        """The ETag of the object that this upload became; None if there is none. Raises `ExportError`."""
        try:
            head = self.caller.head(self.destination.key)
        except S3Error as error:
            if error.code in ABSENT | NOT_READABLE:
                return None
            raise
        ours = head["ContentLength"] == size and head["Metadata"].get(UPLOAD_KEY) == self.nonce
        return head["ETag"].strip('"') if ours else None

    def abort(self) -> bool:
        """Without retries and without raising: an upload that stays is found by the next attempt. True if gone."""
        if not self.upload_id:
            return True
        try:
            self.caller.once(
                "AbortMultipartUpload",
                lambda: self.caller.client.abort_multipart_upload(
                    Bucket=self.destination.bucket, Key=self.destination.key, UploadId=self.upload_id
                ),
            )
        except ExportError as error:
            return isinstance(error, S3Error) and error.code in NO_UPLOAD
        self.upload_id = ""
        return True


def encoded(crc32: int) -> str:
    """A CRC32 as S3 writes it."""
    return base64.b64encode(struct.pack(">I", crc32)).decode()


def decoded(text: str) -> int | None:
    """The CRC32 that S3 wrote so; None for what is none."""
    try:
        (crc32,) = struct.unpack(">I", base64.b64decode(text, validate=True))
    except (ValueError, struct.error):
        return None
    return int(crc32)


def abort_strangers(caller: Caller, prefix: str, ours: Callable[[str], bool], *, but: str = "") -> None:
    """Aborts the uploads that earlier attempts left on the keys that are `ours`, which begin with `prefix`; all `but`
    one. Without the right to list: none."""
    page: dict[str, Any] = {}
    while True:
        try:
            answer = caller(
                "ListMultipartUploads",
                lambda page=page: caller.client.list_multipart_uploads(  # type: ignore[misc]
                    Bucket=caller.bucket, Prefix=prefix, **page
                ),
            )
        except S3Error as error:
            if error.transient or error.failure.value not in {"DestinationAccessDenied", "DestinationRefused"}:
                raise
            return
        for each in answer.get("Uploads", []):
            if ours(each["Key"]) and each["UploadId"] != but:
                _abort_stranger(caller, each["Key"], each["UploadId"])
        if not answer.get("IsTruncated"):
            return
        page = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}


def _abort_stranger(caller: Caller, key: str, upload_id: str) -> None:
    try:
        caller(
            "AbortMultipartUpload",
            lambda: caller.client.abort_multipart_upload(Bucket=caller.bucket, Key=key, UploadId=upload_id),
        )
    except S3Error as error:
        if error.code not in NO_UPLOAD:
            raise
