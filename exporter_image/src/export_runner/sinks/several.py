"""Layout PartObjects in S3: many objects, each a multipart upload of its own.

Without a checkpoint none is visible before all are there. With one, each becomes visible as soon as it is whole, one
after the other, and the checkpoint then names it and the upload of the next: so another process can go on at the next
object, and by taking over aborts the one upload that a process asleep could still complete. Either way the manifest
makes them an export; ADR 0008.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from export_contract.manifest import Manifest, ObjectRef
from export_contract.names import export_key, part_object_key
from export_contract.report import Delivered
from export_contract.runspec import RunSpec
from export_runner.checkpoint import START, Checkpoint, Mark
from export_runner.errors import ExportError, Stopped
from export_runner.retry import Retrier
from export_runner.sinks import delivery, upload
from export_runner.sinks.bucket import Bucket
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import ABSENT, NOT_READABLE, S3Error
from export_runner.sinks.parts import Part, Whole

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import DeleteObjectsOutputTypeDef

_DELETED_AT_ONCE = 1000
"""S3 takes no more in one call."""


@dataclass(slots=True)
class _UnderWay:
    """An object that is being sent. `whole` and `mark` are known once its last part is stored."""

    upload: upload.Upload
    stored: int = 0
    whole: Whole | None = None
    mark: Mark = START


class PartObjects(Bucket):
    """See `sink.Sink` and `sink.Resumable`."""

    def __init__(self, spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> None:
        super().__init__(spec, retrier, keys)
        self._made: list[ObjectRef] = []
        self._under_way: dict[int, _UnderWay] = {}
        self._turn = threading.Condition()
        self._broken = False

    def send(self, part: Part) -> None:
        try:
            self._send(self._way_of(part.object), part)
            self._count(part)
        except BaseException:
            with self._turn:
                self._broken = True
                self._turn.notify_all()
            raise

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        for whole in wholes:
            if whole.object > len(self._made):
                self._finish(whole)
        self._abort_uploads()  # one that was begun for rows that did not come
        if self._current is not None:
            self._put(self._current)  # whoever was fenced meanwhile stops here
        self._remove_leftovers()
        return tuple(self._made)

    def commit(self, manifest: Manifest) -> Delivered:
        self._made.clear()  # from here on they may belong to an export, whatever the answer is
        return super().commit(manifest)

    def abort(self) -> bool:
        if not self._take_over():
            return False
        gone = self._abort_uploads()
        if self._fenced:
            return True  # what is there is another's
        try:
            self._delete(self._caller.once, [each.key for each in self._made])
        except ExportError:
            gone = False
        if self._current is not None and gone:
            self._checkpoints.delete()
        return gone

    def hold(self) -> bool:
        if self._fenced:
            self._abort_uploads()  # begun when the run was another's already
        return super().hold()

    def _claim(self, first: Checkpoint) -> None:
        digest = self._checkpoints.write_objects(self._made) if self._made else first.etag_digest
        super()._claim(replace(first, etag_digest=digest))

    def _open(self) -> None:
        number = len(self._made) + 1
        self._upload = self._begin_upload(self._key(number))
        self._under_way[number] = _UnderWay(self._upload)

    def _adopt(self, found: Checkpoint) -> Checkpoint | None:
        made: Sequence[ObjectRef] = ()
        if found.mark.objects:
            made = self._checkpoints.read_objects(found)
            if not made or not all(delivery.stands(self._caller, each) for each in made):
                return None
        self._made = list(made)
        if not found.mark.ended:
            self._open()
        return found

    def _inherit(self, found: Checkpoint) -> None:
        self._made = list(self._checkpoints.read_objects(found))
        number = found.mark.objects + 1
        target = replace(self._target, key=self._key(number))
        self._upload = upload.Upload(self._caller, target, self._spec.run.id, "", found.upload_id, found.nonce)
        self._under_way[number] = _UnderWay(self._upload)

    def _abort_strangers(self, caller: Caller) -> None:
        found, mine = self._found, self._upload.upload_id if self._upload else ""
        if found is not None and found.upload_id not in {"", mine}:
            left = replace(self._target, key=self._key(found.mark.objects + 1))
            upload.Upload(self._caller, left, self._spec.run.id, "", found.upload_id).abort()
        stem, _, end = export_key(self._target.key, "PartObjects").rpartition("*")
        upload.abort_strangers(
            caller,
            stem,
            lambda key: key.endswith(end) and key[len(stem) : len(key) - len(end)].isdigit(),
            but=mine,
        )

    def _way_of(self, number: int) -> upload.Upload:
        """The upload of an object; with a checkpoint, once the object before it is named there."""
        with self._turn:
            if self._terms is not None:
                self._turn.wait_for(lambda: self._broken or number in self._under_way)
                if self._broken:
                    raise Stopped
            elif number not in self._under_way:
                self._under_way[number] = _UnderWay(self._begin_upload(self._key(number)))
            return self._under_way[number].upload

    def _count(self, part: Part) -> None:
        with self._turn:
            sent = self._under_way[part.object]
            sent.stored += 1
            if part.whole is not None:
                sent.whole, sent.mark = part.whole, part.mark
            if self._terms is None or sent.whole is None or sent.stored < sent.whole.parts:
                return
            self._finish(sent.whole)
            if not sent.mark.ended:
                self._open()
            self._write(sent.mark, self._checkpoints.write_objects(self._made))
            self._turn.notify_all()

    def _finish(self, whole: Whole) -> None:
        stored = self._completed(self._under_way[whole.object].upload, whole)
        self._made.append(self._ref(self._key(whole.object), whole, stored))
        del self._under_way[whole.object]

    def _vanished(self) -> ExportError:
        with self._turn:  # no checkpoint is being written
            return super()._vanished()

    def _abort_uploads(self) -> bool:
        gone = [each.upload.abort() for each in self._under_way.values()]
        return all(gone)

    def _remove_leftovers(self) -> None:
        """Objects behind the last one, which an earlier attempt left: they would be taken for this export's."""
        number = len(self._made) + 1
        left: list[str] = []
        while self._is_there(key := self._key(number + len(left))):
            left.append(key)
        try:
            self._delete(self._caller, left)
        except S3Error as error:
            if error.code not in NOT_READABLE:  # without the right to delete, the manifest alone tells them apart
                raise

    def _is_there(self, key: str) -> bool:
        try:
            self._caller.head(key)
        except S3Error as error:
            if error.code in ABSENT | NOT_READABLE:
                return False
            raise
        return True

    def _delete(self, call: Callable[[str, Callable[[], DeleteObjectsOutputTypeDef]], object], keys: list[str]) -> None:
        """By `Caller.__call__` or by `Caller.once`, and raises as that does."""
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            some = keys[first : first + _DELETED_AT_ONCE]
            call(
                "DeleteObjects",
                lambda some=some: self._caller.client.delete_objects(  # type: ignore[misc]
                    Bucket=self._target.bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                ),
            )

    def _key(self, number: int) -> str:
        return part_object_key(self._target.key, number)
