"""The checkpoint in S3, and the fence that it is: each write names the version that it replaces.

Whoever writes it last owns the run. A process that slept through that gets 412 for its next write, and stops.
docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from export_contract.codec import ContractError
from export_contract.failures import Failure
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


class Checkpoints:
    """Reads and writes the one checkpoint of a run. Calls raise `ExportError`, `Stopped`."""

    def __init__(self, caller: Caller, destination: Destination) -> None:
        self._caller = caller
        self._destination = destination
        self._bucket = destination.checkpoint_bucket or destination.bucket
        self._etag = ""

    def read(self) -> Checkpoint | None:
        """What stands there; what cannot be understood counts as nothing, and is replaced."""
        found = self._get()
        if found is None:
            self._etag = ""
            return None
        text, self._etag = found
        try:
            return Checkpoint.from_json(text)
        except ContractError:
            return None

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
            found = self._get()
            if found is None or found[0] != text.encode():
                raise Fenced from None
            self._etag = found[1]

    def delete(self) -> None:
        """Removes it, if it is still ours; one that stays does no harm, since the manifest is looked for first."""
        if not self._etag:
            return
        try:
            self._caller.once(
                "DeleteObject",
                lambda: self._caller.client.delete_object(
                    Bucket=self._bucket, Key=self._destination.checkpoint_key, IfMatch=self._etag
                ),
            )
        except ExportError:
            return

    def _get(self) -> tuple[bytes, str] | None:
        try:
            return documents.read(self._caller, self._bucket, self._destination.checkpoint_key, _MAX_BYTES)
        except S3Error as error:
            if error.code in ABSENT | NOT_READABLE:
                return None
            raise
