"""The sink that is a bucket of S3: one object by multipart upload, then the manifest beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export_contract.manifest import Manifest, ObjectRef
from export_contract.report import Delivered
from export_contract.runspec import RunSpec
from export_runner.formats.base import load
from export_runner.formats.compression import content_type
from export_runner.retry import Retrier
from export_runner.sinks import client, delivery, upload
from export_runner.sinks.parts import SENDERS, Part, Whole


class Bucket:
    """See `sink.Sink`."""

    def __init__(self, spec: RunSpec, retrier: Retrier, keys: Mapping[str, str] | None = None) -> None:
        """Reaches nobody yet. `keys` as in `client.make`. Raises `ExportError`."""
        self._spec = spec
        self._target = spec.destination
        self._caller = client.Caller(client.make(self._target, SENDERS + 1, keys), self._target.bucket, retrier)
        self._upload: upload.Upload | None = None

    def find(self) -> Delivered | None:
        manifest = delivery.find(self._caller, self._target, self._spec.run.id)
        return None if manifest is None else delivery.delivered(manifest, self._target)

    def begin(self) -> None:
        upload.abort_strangers(self._caller, self._target.key)
        output = self._spec.output
        made = load(output.format)
        media = content_type(made.media_type(output), output.compression, inside=made.compresses_inside)
        self._upload = upload.Upload(self._caller, self._target, self._spec.run.id, media)
        self._upload.begin()

    def send(self, part: Part) -> None:
        self._begun.send(part)

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        (whole,) = wholes
        stored = self._begun.complete(whole.bytes, whole.crc32)
        self._upload = None  # there is nothing to abort any more
        return (
            ObjectRef(
                bucket=self._target.bucket,
                key=self._target.key,
                bytes=whole.bytes,
                sha256=whole.sha256,
                etag=stored.etag,
                parts=stored.parts,
            ),
        )

    def commit(self, manifest: Manifest) -> Delivered:
        return delivery.commit(self._caller, self._target, manifest)

    def abort(self) -> bool:
        return self._upload is None or self._upload.abort()

    @property
    def _begun(self) -> upload.Upload:
        assert self._upload is not None, "begin comes first"
        return self._upload
