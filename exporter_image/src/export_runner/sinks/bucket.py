"""The sink that is a bucket of S3: one object by multipart upload, then the manifest beside it.

With a checkpoint, another process can go on with the upload; see `settle`.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export_contract.failures import Failure
from export_contract.manifest import Manifest, ObjectRef, Segment
from export_contract.report import Delivered
from export_contract.runspec import RunSpec
from export_runner import checkpoint
from export_runner.checkpoint import Checkpoint, Mark, Terms
from export_runner.clock import Stop
from export_runner.errors import ExportError
from export_runner.formats.base import load
from export_runner.formats.compression import content_type
from export_runner.retry import Retrier
from export_runner.sinks import client, delivery, upload
from export_runner.sinks.checkpoints import Checkpoints, Fenced
from export_runner.sinks.errors import ABSENT, INVALID_PART, NO_UPLOAD, REPLACED, S3Error
from export_runner.sinks.parts import SENDERS, Part, Whole

_READ_BYTES = 1024 * 1024


class Bucket:
    """See `sink.Sink` and `sink.Resumable`."""

    def __init__(self, spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> None:
        """Reaches nobody yet. `keys` as in `client.make`. Raises `ExportError`."""
        self._spec = spec
        self._target = spec.destination
        made = client.make(self._target, SENDERS + 1, keys)
        self._caller = client.Caller(made, self._target.bucket, retrier)
        # A run that is told to stop still writes down what it has sent.
        lasting = Retrier(retrier.deadline, Stop(), retrier.delays, note=retrier.note)
        self._checkpoints = Checkpoints(client.Caller(made, self._target.bucket, lasting), self._target)
        self._upload: upload.Upload | None = None
        self._found: Checkpoint | None = None
        self._current: Checkpoint | None = None
        self._terms: Terms | None = None
        self._start = Mark()
        self._prefix = Prefix()
        self._writing = threading.Lock()
        self._fenced = False

    def find(self) -> Delivered | None:
        manifest = delivery.find(self._caller, self._target, self._spec.run.id)
        if manifest is not None:
            return delivery.delivered(manifest, self._target)
        if self._target.checkpoint_key:
            self._found = self._checkpoints.read()
        return None

    def begin(self) -> None:
        if self._found is None:  # else it is decided in `settle` whether there is anything to begin
            upload.abort_strangers(self._caller, self._target.key)
            self._open()

    def settle(self, terms: Terms | None) -> Checkpoint | None:
        """Takes the run over: goes on from a checkpoint that fits and returns it, or begins anew. None for `terms`: no
        checkpoint is kept. From here on, no other process can write one. Raises `ExportError`, `Stopped`."""
        found = self._found
        if found is not None and terms is not None and found.fits(self._spec.run.id, terms) and self._adopt(found):
            self._terms, self._start = terms, found.mark
            self._prefix = Prefix(found.mark.parts)
            self._claim(replace(found, attempt=found.attempt + 1))
            upload.abort_strangers(self._caller, self._target.key, but=found.upload_id)
            return found
        if found is not None:
            self._open()
        begun = self._begun
        if terms is not None:
            self._terms = terms
            self._claim(
                Checkpoint(
                    run=self._spec.run.id,
                    content=terms.content,
                    fingerprint=terms.fingerprint,
                    attempt=1,
                    writer="",
                    upload_id=begun.upload_id,
                    nonce=begun.nonce,
                    etag_digest=checkpoint.etag_digest(()),
                    mark=Mark(),
                )
            )
        if found is not None:
            if terms is None:
                self._checkpoints.delete()
            upload.abort_strangers(self._caller, self._target.key, but=begun.upload_id)
        return None

    def send(self, part: Part) -> None:
        try:
            self._begun.send(part)
        except S3Error as error:
            if error.code in NO_UPLOAD:
                raise _vanished() from None
            raise
        if self._terms is None:
            return
        self._prefix.add(part.mark)
        with self._writing:
            newest = self._prefix.newest
            if self._current is not None and newest.parts > self._current.mark.parts:
                self._write(newest)

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        (whole,) = wholes
        stored = self._completed(whole)
        self._upload = None  # there is nothing to abort any more
        return (
            ObjectRef(
                bucket=self._target.bucket,
                key=self._target.key,
                bytes=whole.bytes,
                sha256=whole.sha256 or self._read_back(stored.etag),
                etag=stored.etag,
                parts=stored.parts,
            ),
        )

    def commit(self, manifest: Manifest) -> Delivered:
        made = delivery.commit(self._caller, self._target, manifest)
        if self._terms is not None:
            self._checkpoints.delete()
        return made

    def hold(self) -> bool:
        """Leaves the upload and its checkpoint for another process; False when none is kept."""
        return self._terms is not None or self._fenced

    def abort(self) -> bool:
        if self._fenced:
            return True  # what is there is another's
        gone = self._upload is None or self._upload.abort()
        if self._terms is not None and gone:
            self._checkpoints.delete()
        return gone

    def _open(self) -> None:
        output = self._spec.output
        made = load(output.format)
        media = content_type(made.media_type(output), output.compression, inside=made.compresses_inside)
        self._upload = upload.Upload(self._caller, self._target, self._spec.run.id, media)
        self._upload.begin()

    def _adopt(self, found: Checkpoint) -> bool:
        """Is the upload as the checkpoint says, or completed already?"""
        taken = upload.Upload(self._caller, self._target, self._spec.run.id, "")
        etags = taken.go_on(found.upload_id, found.nonce, found.mark.parts)
        if etags is None and not (found.mark.ended and taken.stands(found.mark.bytes)):
            return False
        if etags is not None and checkpoint.etag_digest(etags) != found.etag_digest:
            return False
        self._upload = taken
        return True

    def _claim(self, first: Checkpoint) -> None:
        self._current = replace(first, writer=secrets.token_hex(8))
        self._put(self._current)

    def _write(self, mark: Mark) -> None:
        assert self._current is not None, "the run was taken over"
        assert self._terms is not None, "a checkpoint is kept"
        made = replace(
            self._current,
            mark=mark,
            etag_digest=checkpoint.etag_digest(self._begun.etags(mark.parts)),
            segments=checkpoint.segments(self._before, self._terms, mark.rows - self._start.rows),
        )
        self._put(made)
        self._current = made

    @property
    def _before(self) -> Sequence[Segment]:
        return self._found.segments if self._found is not None and self._start.parts else ()

    def _put(self, made: Checkpoint) -> None:
        try:
            self._checkpoints.write(made)
        except Fenced:
            self._fenced = True
            raise

    def _completed(self, whole: Whole) -> upload.Stored:
        begun = self._begun
        try:
            return self._replace(begun, whole)
        except S3Error as error:
            if error.code in INVALID_PART:  # another process, asleep for a while, sent a part of its own
                begun.abort()
                if self._terms is not None:
                    self._checkpoints.delete()
                raise _vanished() from None
            raise

    def _replace(self, begun: upload.Upload, whole: Whole) -> upload.Stored:
        """Completes; an object that an earlier attempt left is replaced, unless its manifest has come meanwhile."""
        try:
            return begun.complete(whole.bytes, whole.crc32)
        except S3Error as error:
            if error.code not in REPLACED:
                raise
        etag = begun.standing()
        if delivery.find(self._caller, self._target, self._spec.run.id) is not None:
            self._fenced = True
            begun.abort()
            raise Fenced
        try:
            return begun.complete(whole.bytes, whole.crc32, replacing=etag)
        except S3Error as error:
            if error.code not in REPLACED | ABSENT:
                raise
            self._fenced = True
            begun.abort()
            raise Fenced from None

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

    @property
    def _begun(self) -> upload.Upload:
        assert self._upload is not None, "begin comes first"
        return self._upload


class Prefix:
    """Parts come in any order; only the longest run of them from the first counts."""

    def __init__(self, parts: int = 0) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Mark] = {}
        self._newest = Mark(parts=parts)

    @property
    def newest(self) -> Mark:
        return self._newest

    def add(self, mark: Mark) -> None:
        """The part that ends at `mark` is stored."""
        with self._lock:
            self._waiting[mark.parts] = mark
            while (following := self._waiting.pop(self._newest.parts + 1, None)) is not None:
                self._newest = following


def _vanished() -> ExportError:
    return ExportError(
        Failure.DESTINATION_UNAVAILABLE, "The upload was changed or aborted by another process.", transient=True
    )
