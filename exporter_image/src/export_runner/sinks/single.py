"""Layout SingleObject in S3: one multipart upload, which another process can go on with, part by part."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export_contract.manifest import ObjectRef
from export_contract.runspec import RunSpec
from export_runner import checkpoint
from export_runner.checkpoint import Checkpoint, Mark
from export_runner.retry import Retrier
from export_runner.sinks import upload
from export_runner.sinks.bucket import Bucket
from export_runner.sinks.parts import Part, Whole

_READ_BYTES = 1024 * 1024


class SingleObject(Bucket):
    """See `sink.Sink` and `sink.Resumable`."""

    def __init__(self, spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> None:
        super().__init__(spec, retrier, keys)
        self._prefix = Prefix()
        self._writing = threading.Lock()

    def send(self, part: Part) -> None:
        self._send(self._begun, part)
        if self._terms is None:
            return
        self._prefix.add(part.mark)
        with self._writing:
            newest = self._prefix.newest
            if self._current is not None and newest.parts > self._current.mark.parts:
                self._write(newest, checkpoint.etag_digest(self._begun.etags(newest.parts)))

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        (whole,) = wholes
        stored = self._completed(self._begun, whole)
        self._upload = None  # there is nothing to abort any more
        made = self._ref(self._target.key, whole, stored)
        return (made if whole.sha256 else replace(made, sha256=self._read_back(stored.etag)),)

    def abort(self) -> bool:
        if self._fenced:
            return True  # what is there is another's
        gone = self._upload is None or self._upload.abort()
        if self._terms is not None and gone:
            self._checkpoints.delete()
        return gone

    def _open(self) -> None:
        self._upload = self._begin_upload(self._target.key)

    def _adopt(self, found: Checkpoint) -> bool:
        """Also when the upload is completed already."""
        taken = upload.Upload(self._caller, self._target, self._spec.run.id, "")
        etags = taken.go_on(found.upload_id, found.nonce, found.mark.parts)
        if etags is None and not (found.mark.ended and taken.stands(found.mark.bytes)):
            return False
        if etags is not None and checkpoint.etag_digest(etags) != found.etag_digest:
            return False
        self._upload, self._prefix = taken, Prefix(found.mark.parts)
        return True

    def _abort_strangers(self) -> None:
        key, mine = self._target.key, self._upload.upload_id if self._upload else ""
        upload.abort_strangers(self._caller, key, lambda other: other == key, but=mine)

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
