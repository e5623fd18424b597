"""The checkpoint in S3, and the fence that it is: each write names the version that it replaces.

Whoever writes it last owns the run. A process that slept through that gets 412 for its next write, and stops.
docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export_contract.codec import ContractError, dumps, loads
from export_contract.failures import Failure
from export_contract.manifest import ObjectRef
from export_contract.runspec import Destination
from export_runner.checkpoint import Checkpoint
from export_runner.errors import ExportError
from export_runner.sinks import documents
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import ABSENT, NOT_READABLE, REPLACED, S3Error

_MAX_BYTES = 1024 * 1024  # what is larger is none of ours


class Fenced(ExportError):  # noqa: N818 - says what happened
    """Another process goes on with this run; whatever this one does now must have no effect."""

    def __init__(self) -> None:
        super().__init__(Failure.INTERRUPTED, "Another process is at work on this run. This one left it alone.")


@dataclass(frozen=True, slots=True)
class _Objects:
    """The document beside the checkpoint."""

    objects: tuple[ObjectRef, ...]


class Checkpoints:
    """Reads and writes the one checkpoint of a run. Calls raise `ExportError`, `Stopped`."""

    def __init__(self, caller: Caller, destination: Destination) -> None:
        self._caller = caller
        self._destination = destination
        self._bucket = destination.checkpoint_bucket or destination.bucket
        self._etag = ""
        self.writer = secrets.token_hex(8)
        """Who writes here, as the checkpoint is to say."""
        self._own_lists: set[str] = set()
        self._lists_before: set[str] = set()

    def read(self) -> Checkpoint | None:
        """What stands there; what cannot be understood counts as nothing, and is replaced."""
        found = self._get(self._destination.checkpoint_key, _MAX_BYTES)
        if found is None:
            self._etag = ""
            return None
        text, self._etag = found
        try:
            checkpoint = Checkpoint.from_json(text)
        except ContractError:
            return None
        if checkpoint.mark.objects or checkpoint.attempt > 1:
            self._lists_before = {self._list_key(checkpoint.writer, place) for place in range(2)}
        return checkpoint

    def write(self, checkpoint: Checkpoint) -> None:
        """Raises `Fenced` when somebody else wrote meanwhile."""
        text, key = checkpoint.to_json(), self._destination.checkpoint_key
        condition = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        try:
            self._etag = documents.write(self._caller, self._destination, self._bucket, key, text, **condition)
        except S3Error as error:
            if error.code not in REPLACED | ABSENT:
                raise
            # An answer that was lost makes our own second try look like another's.
            found = self._get(key, _MAX_BYTES)
            if found is None or found[0] != text.encode():
                self._remove(self._own_lists)
                raise Fenced from None
            self._etag = found[1]
        self._remove(self._lists_before)

    def upload(self) -> str:
        """The upload that the checkpoint names, whoever's it is; "" when there is none. Raises nothing."""
        try:
            found = self._get(self._destination.checkpoint_key, _MAX_BYTES)
            return Checkpoint.from_json(found[0]).upload_id if found is not None else ""
        except (ExportError, ContractError):
            return ""

    def stands(self) -> bool:
        """Is there still what was written last, or nothing?"""
        found = self._get(self._destination.checkpoint_key, _MAX_BYTES)
        return found is None or found[1] == self._etag

    def delete(self) -> None:
        """Removes it, if it is still ours; one that stays does no harm, since the manifest is looked for first."""
        if self._etag and self._delete(self._destination.checkpoint_key, IfMatch=self._etag):
            self._remove(self._own_lists | self._lists_before)

    def write_objects(self, objects: Sequence[ObjectRef]) -> str:
        """The list of the finished objects, for the checkpoint to come, which is to name its digest: that is returned.

        Each writer has two places in turn, so that the list of the checkpoint that stands is never written over.
        """
        text, key = dumps(_Objects(tuple(objects))), self._list_key(self.writer, len(objects) % 2)
        self._own_lists.add(key)
        documents.write(self._caller, self._destination, self._bucket, key, text)
        return hashlib.sha256(text.encode()).hexdigest()

    def read_objects(self, checkpoint: Checkpoint) -> tuple[ObjectRef, ...]:
        """The list that a checkpoint names; empty when it is not there."""
        key = self._list_key(checkpoint.writer, checkpoint.mark.objects % 2)
        found = self._get(key, documents.MAX_MANIFEST)
        if found is None or hashlib.sha256(found[0]).hexdigest() != checkpoint.etag_digest:
            return ()
        return loads(_Objects, found[0]).objects

    def _list_key(self, writer: str, place: int) -> str:
        folder, slash, _ = self._destination.checkpoint_key.rpartition("/")
        return f"{folder}{slash}objects-{writer}-{place}.json"

    def _remove(self, keys: set[str]) -> None:
        for key in keys:
            self._delete(key)
        keys.clear()

    def _delete(self, key: str, **condition: Any) -> bool:
        """Without retries and without raising."""
        try:
            self._caller.once(
                "DeleteObject", lambda: self._caller.client.delete_object(Bucket=self._bucket, Key=key, **condition)
            )
        except ExportError:
            return False
        return True

    def _get(self, key: str, most: int) -> tuple[bytes, str] | None:
        try:
            return documents.read(self._caller, self._bucket, key, most)
        except S3Error as error:
            if error.code in ABSENT | NOT_READABLE:
                return None
            raise
