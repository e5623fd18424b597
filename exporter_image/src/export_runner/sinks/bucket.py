"""What the sinks for S3 share: uploads, the manifest beside what they make, and going on from a checkpoint.

`single` makes one object, `several` make many; `layouts` chooses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export_contract.failures import Failure
from export_contract.manifest import Manifest, ObjectRef
from export_contract.report import Delivered
from export_contract.runspec import RunSpec
from export_runner import checkpoint
from export_runner.checkpoint import Checkpoint, Mark, Terms
from export_runner.clock import Stop
from export_runner.errors import ExportError
from export_runner.formats.base import load
from export_runner.formats.compression import content_type
from export_runner.retry import Retrier
from export_runner.sinks import client, delivery, probe, upload
from export_runner.sinks.checkpoints import Checkpoints, Fenced
from export_runner.sinks.errors import ABSENT, CONFLICT, INVALID_PART, NO_UPLOAD, REPLACED, S3Error, code_of
from export_runner.sinks.parts import SENDERS, Part, Whole


class Bucket(ABC):
    """See `sink.Sink` and `sink.Resumable`. `_upload` is that of the object under way."""

    def __init__(self, spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> None:
        """Reaches nobody yet. `keys` as in `client.make`. Raises `ExportError`."""
        self._spec = spec
        self._target = spec.destination
        made = client.make(self._target, SENDERS + 1, keys)
        self._caller = client.Caller(made, self._target.bucket, retrier)
        # A run that is told to stop still writes down what it has sent, or takes it back.
        lasting = Retrier(retrier.deadline, Stop(), retrier.delays, note=retrier.note, count=retrier.count)
        self._lasting = client.Caller(made, self._target.bucket, lasting)
        self._checkpoints = Checkpoints(self._lasting, self._target)
        self._upload: upload.Upload | None = None
        self._found: Checkpoint | None = None
        self._left: Checkpoint | None = None
        """The same, until something is begun or gone on with."""
        self._current: Checkpoint | None = None
        self._terms: Terms | None = None
        self._start = Mark()
        self._fenced = False
        self._unproven: Manifest | None = None

    @abstractmethod
    def send(self, part: Part) -> None:
        """See `sink.Sink`."""

    @abstractmethod
    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        """See `sink.Sink`."""

    @abstractmethod
    def abort(self) -> bool:
        """See `sink.Sink`."""

    @abstractmethod
    def _open(self) -> None:
        """Begins the first object's upload."""

    @abstractmethod
    def _adopt(self, found: Checkpoint) -> Checkpoint | None:
        """Goes on with what the checkpoint tells of, and tells how far that is: perhaps further than when it was
        written. None when not everything is there. Raises `ExportError`."""

    @abstractmethod
    def _inherit(self, found: Checkpoint) -> None:
        """Takes what the checkpoint tells of for this process's own, to abort it. Raises `ExportError`."""

    @abstractmethod
    def _abort_strangers(self, caller: client.Caller) -> None:
        """Aborts what other attempts of this run have under way. Raises `ExportError`, and `Stopped` by a caller that
        can be stopped."""

    def find(self) -> Delivered | None:
        manifest = delivery.read(self._caller, self._target, self._spec.run.id)
        if manifest is not None and delivery.proven(self._caller, manifest):
            return delivery.delivered(manifest, self._target)
        self._unproven = manifest
        if self._target.checkpoint_key:
            self._found = self._left = self._checkpoints.read()
        return None

    def begin(self) -> None:
        if self._found is None:  # else it is decided in `settle` whether there is anything to begin
            self._abort_strangers(self._caller)
            self._open()

    def settle(self, terms: Terms | None) -> Checkpoint | None:
        """Takes the run over: goes on from a checkpoint that fits and returns it, or begins anew. None for `terms`: no
        checkpoint is kept. From here on, no other process can write one. Raises `ExportError`, `Stopped`."""
        found = self._found
        fits = found is not None and terms is not None and found.fits(self._spec.run.id, terms)
        if found is not None and fits and (reached := self._adopt(found)) is not None:
            self._terms, self._start, self._current, self._found = terms, reached.mark, reached, reached
            self._left = None
            self._claim(replace(reached, attempt=reached.attempt + 1))
            self._abort_strangers(self._caller)
            return reached
        if found is not None:
            self._left = None
            self._open()
        if terms is not None:
            self._terms = terms
            self._claim(
                Checkpoint(
                    run=self._spec.run.id,
                    content=terms.content,
                    fingerprint=terms.fingerprint,
                    attempt=1,
                    writer="",
                    upload_id="",
                    nonce="",
                    etag_digest=checkpoint.etag_digest(()),
                    mark=Mark(),
                )
            )
        if found is not None:
            if terms is None:
                self._checkpoints.delete()
            self._abort_strangers(self._caller)
            if terms is None:
                self._found = None
        return None

    def commit(self, manifest: Manifest) -> Delivered:
        try:
            made = delivery.commit(self._caller, self._target, manifest)
        except Fenced:
            self._fenced = True
            raise
        if self._current is not None:
            self._checkpoints.delete()
            self._current = None
        return made

    def probe(self) -> tuple[str, ...]:
        return probe.probe(self._caller, self._target, self._spec.run.id)

    def hold(self) -> bool:
        """Leaves the upload and its checkpoint for another process; False when no checkpoint is there yet."""
        return self._current is not None or self._left is not None or self._fenced

    def kept(self) -> int | None:
        """See `sink.Resumable`."""
        current = self._current or self._found
        return None if current is None or self._fenced else current.mark.rows or None

    def _take_over(self) -> bool:
        """Before `abort`, of what an earlier attempt left: nobody goes on with it any more. False if it stays, because
        S3 does not answer. Raises nothing."""
        left, self._left = self._left, None
        if left is None:
            return True
        try:
            self._inherit(left)
            self._put(replace(left, attempt=left.attempt + 1, writer=self._checkpoints.writer))
            self._abort_strangers(self._lasting)  # begun, and no checkpoint named it yet
        except ExportError:
            return self._fenced
        return True

    def _begin_upload(self, key: str) -> upload.Upload:
        output = self._spec.output
        made = load(output.format)
        media = content_type(made.media_type(output), output.compression, inside=made.compresses_inside)
        begun = upload.Upload(self._caller, replace(self._target, key=key), self._spec.run.id, media)
        begun.begin()
        return begun

    def _send(self, begun: upload.Upload, part: Part) -> None:
        try:
            begun.send(part)
        except S3Error as error:
            if error.code not in NO_UPLOAD:
                raise
            raise self._vanished() from None

    def _ref(self, key: str, whole: Whole, stored: upload.Stored) -> ObjectRef:
        return ObjectRef(
            bucket=self._target.bucket,
            key=key,
            rows=whole.rows,
            bytes=whole.bytes,
            sha256=whole.sha256,
            etag=stored.etag,
            parts=stored.parts,
        )

    def _claim(self, first: Checkpoint) -> None:
        self._put(replace(first, writer=self._checkpoints.writer))

    def _write(self, mark: Mark, digest: str, ahead: tuple[Mark, ...] = ()) -> None:
        assert self._current is not None, "the run was taken over"
        assert self._terms is not None, "a checkpoint is kept"
        before = self._found.segments if self._found is not None and self._start.rows else ()
        last = ahead[-1] if ahead else mark
        segments = checkpoint.segments(before, self._terms, last.rows - self._start.rows)
        self._put(replace(self._current, mark=mark, ahead=ahead, etag_digest=digest, segments=segments))

    def _put(self, made: Checkpoint) -> None:
        """Writes the checkpoint, with the upload under way."""
        if self._upload is not None:
            made = replace(made, upload_id=self._upload.upload_id, nonce=self._upload.nonce)
        try:
            self._checkpoints.write(made)
        except Fenced:
            self._fenced = True
            raise
        self._current = made

    def _completed(self, begun: upload.Upload, whole: Whole) -> upload.Stored:
        """An upload that can no longer be completed is made anew, all parts of it. InvalidPart: another process, asleep
        for a while, had sent a part of its own. A conflict: S3 may have ended the upload.
        docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
        try:
            return self._replace(begun, whole)
        except ExportError as error:
            if code_of(error) not in INVALID_PART | NO_UPLOAD | CONFLICT:
                raise
        vanished = self._vanished()
        begun.abort()
        raise vanished

    def _vanished(self) -> ExportError:
        """The failure of an upload that is this process's own. Raises `Fenced` when it is another's by now."""
        if self._current is not None and not self._checkpoints.stands():
            self._fenced = True
            raise Fenced
        return ExportError(
            Failure.DESTINATION_UNAVAILABLE, "The upload was changed or aborted by another process.", transient=True
        )

    def _replace(self, begun: upload.Upload, whole: Whole) -> upload.Stored:
        """Completes; an object that an earlier attempt left is replaced, unless its manifest has come meanwhile."""
        try:
            return begun.complete(whole.bytes, whole.crc32)
        except S3Error as error:
            if error.code not in REPLACED:
                raise
        etag = begun.standing()
        manifest = delivery.read(self._caller, self._target, self._spec.run.id)
        if manifest != self._unproven and delivery.proven(self._caller, manifest):
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

    @property
    def _begun(self) -> upload.Upload:
        assert self._upload is not None, "begin comes first"
        return self._upload
