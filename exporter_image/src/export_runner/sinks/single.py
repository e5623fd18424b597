"""Layout SingleObject in S3: one multipart upload, which another process can go on with, part by part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export_contract.manifest import ObjectRef
from export_contract.runspec import RunSpec
from export_runner import checkpoint
from export_runner.checkpoint import Checkpoint, Mark
from export_runner.errors import ExportError
from export_runner.retry import Retrier
from export_runner.sinks import upload
from export_runner.sinks.bucket import Bucket
from export_runner.sinks.client import Caller
from export_runner.sinks.keeper import Keeper
from export_runner.sinks.parts import Part, Whole

_READ_BYTES = 1024 * 1024


class SingleObject(Bucket):
    """See `sink.Sink` and `sink.Resumable`."""

    def __init__(self, spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> None:
        super().__init__(spec, retrier, keys)
        self._keeper: Keeper | None = None

    def send(self, part: Part) -> None:
        if self._keeper is not None:
            self._keeper.begin(part.mark)
        self._send(self._begun, part)
        if self._keeper is not None:
            self._keeper.stored(part.mark)

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        (whole,) = wholes
        if self._keeper is not None:
            self._keeper.finish(complete=whole.complete)
        stored = self._completed(self._begun, whole)
        self._upload = None  # there is nothing to abort any more
        made = self._ref(self._target.key, whole, stored)
        return (made if whole.sha256 else replace(made, sha256=self._read_back(stored.etag)),)

    def hold(self) -> bool:
        if self._keeper is not None:
            self._keeper.leave()
        self._abort_if_left()
        return super().hold()

    def abort(self) -> bool:
        self._close()
        if not self._take_over():
            return False
        if self._fenced:
            self._abort_if_left()
            return True  # what is there is another's
        gone = self._upload is None or self._upload.abort()
        if self._current is not None and gone:
            self._checkpoints.delete()
        return gone

    def _claim(self, first: Checkpoint) -> None:
        super()._claim(first)
        self._keeper = Keeper(first.mark, self._tell)

    def _tell(self, mark: Mark, ahead: tuple[Mark, ...]) -> None:
        self._write(mark, checkpoint.etag_digest(self._begun.etags(mark.parts)), ahead)

    def _vanished(self) -> ExportError:
        self._close()
        return super()._vanished()

    def _abort_if_left(self) -> None:
        """Whoever took the run over may have aborted this upload while a part of it was under way: S3 then keeps that.
        docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""
        if self._fenced and self._upload is not None and self._checkpoints.upload() != self._upload.upload_id:
            self._upload.abort()

    def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()

    def _open(self) -> None:
        self._upload = self._begin_upload(self._target.key)

    def _adopt(self, found: Checkpoint) -> Checkpoint | None:
        """Also when the upload is completed already."""
        taken = upload.Upload(self._caller, self._target, self._spec.run.id, "")
        listed = taken.go_on(found.upload_id, found.nonce)
        if listed is None:
            reached = found if found.mark.ended and taken.stands(found.mark.bytes, found.mark.parts) else None
        elif (reached := found.reached(listed)) is not None:
            taken.count(listed, reached.mark.parts)
        if reached is not None:
            self._upload = taken
        return reached

    def _inherit(self, found: Checkpoint) -> None:
        self._upload = upload.Upload(self._caller, self._target, self._spec.run.id, "", found.upload_id, found.nonce)

    def _abort_strangers(self, caller: Caller) -> None:
        key, mine = self._target.key, self._upload.upload_id if self._upload else ""
        upload.abort_strangers(caller, key, lambda other: other == key, but=mine)

    def _read_back(self, etag: str) -> str:
        """The SHA-256 of the object as it is stored."""

        def read() -> str:
            body = self._caller.client.get_object(Bucket=self._target.bucket, Key=self._target.key, IfMatch=etag)[
                "Body"
            ]
            digest = hashlib.sha256()
            for chunk in body.iter_chunks(_READ_BYTES):
                digest.update(chunk)
            return digest.hexdigest()

        return self._caller("GetObject", read)
