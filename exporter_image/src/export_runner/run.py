"""One run, from spec to delivery: prepare both ends at once, move the rows, commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from export_contract.failures import Failure
from export_contract.manifest import Column, Manifest, ObjectRef
from export_contract.report import Delivered
from export_contract.runspec import RunSpec
from export_runner import output, parameters
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError
from export_runner.meter import Meter
from export_runner.retry import Retrier
from export_runner.tasks import Task, wait_for

if TYPE_CHECKING:  # heavy: each is imported on the thread that needs it first
    from export_runner.pipeline import Encoded, Encoder
    from export_runner.sinks.client import Caller
    from export_runner.sinks.upload import Stored, Upload
    from export_runner.source.catalog import Opened
    from export_runner.source.connect import Connection
    from export_runner.source.copying import Reader

T = TypeVar("T")
EncoderMaker: TypeAlias = "Callable[[Opened], tuple[Opened, Encoder]]"
"""Gives the source as the format wants it read, and the encoder of what is read so."""

LEFTOVER_SECONDS = 1.0
"""What each of ending the preparations, closing the session and aborting the upload may take when a run ends badly."""
ENOUGH = 1.25
"""The deadline that is said to have sufficed: the time at the rate so far, times this."""


@dataclass(slots=True)
class Held:
    """What must be let go of however an attempt ends."""

    connection: Connection | None = None
    upload: Upload | None = None


class Run:
    """Lives on the main thread, which only waits: every call to the outside is on a thread of its own."""

    def __init__(self, spec: RunSpec, meter: Meter, stop: Stop, retrier: Retrier) -> None:
        self._spec = spec
        self._meter = meter
        self._stop = stop
        self._retrier = retrier
        self._deadline: Deadline = retrier.deadline
        self._started_at = _now()

    def deliver(self) -> Delivered:
        """Exports, unless this run's manifest is there already. Raises `ExportError`, `Stopped`."""
        parameters.validate(self._spec.source.parameters)
        output.validate(self._spec.output)
        # A lost connection to PostgreSQL takes its snapshot along: the rows are read anew, into a new upload.
        return self._retrier.call("The export", self._attempt)

    def _attempt(self) -> Delivered:
        stop, held = self._stop.child(), Held()
        self._meter.again()
        begun = time.monotonic()
        preparations = (
            Task("prepare-source", lambda: self._prepare_source(held, stop)),
            Task("prepare-destination", lambda: self._prepare_destination(held, stop)),
            Task("prepare-encoder", self._prepare_encoder),
        )
        source, destination, encoder = preparations
        try:
            found = self._wait(destination, stop)
            if isinstance(found, Delivered):
                return found
            described = self._wait(source, stop)
            opened, made = self._wait(encoder, stop)(described)
            self._meter.add("connect", time.monotonic() - begun)
            self._meter.estimated_rows = opened.estimated_rows
            return self._transfer(opened, made, found, held, stop)
        finally:
            stop.request()
            for task in preparations:
                task.join(LEFTOVER_SECONDS)
            _let_go(held)

    def _wait(self, task: Task[T], stop: Stop) -> T:
        return wait_for(task, self._deadline, stop, self._expired)

    def _retries(self, stop: Stop) -> Retrier:
        return Retrier(self._deadline, stop, self._retrier.delays, note=self._retrier.note)

    def _prepare_destination(self, held: Held, stop: Stop) -> Delivered | Caller:
        from export_runner.sinks import client, delivery, upload
        from export_runner.sinks.parts import SENDERS

        target, form = self._spec.destination, self._spec.output
        caller = client.Caller(client.make(target, SENDERS + 1), target.bucket, self._retries(stop))
        if (manifest := delivery.find(caller, target, self._spec.run.id)) is not None:
            self._meter.rows, self._meter.bytes = manifest.rows, manifest.objects[0].bytes
            return delivery.delivered(manifest, target)
        upload.abort_strangers(caller, target.key)

        from export_runner.formats.base import load
        from export_runner.formats.compression import content_type

        made = load(form.format)
        media = content_type(made.media_type(form), form.compression, inside=made.compresses_inside)
        begun = upload.Upload(caller, target, self._spec.run.id, media)
        held.upload = begun
        begun.begin()
        return caller

    def _prepare_source(self, held: Held, stop: Stop) -> Opened:
        from export_runner.source.catalog import open_snapshot
        from export_runner.source.connect import connect

        def opened() -> Opened:
            if held.connection is not None:
                held.connection.close()
            held.connection = connect(self._spec.source)
            return open_snapshot(held.connection, self._spec.source, int(self._deadline.remaining() * 1000))

        return self._retries(stop).call("Reading from PostgreSQL", opened)

    def _prepare_encoder(self) -> EncoderMaker:
        import export_runner.source.copying  # noqa: F401 - loaded here, while the connections are made
        from export_runner.formats.base import load
        from export_runner.formats.compression import compressor
        from export_runner.pipeline import Encoder

        form = self._spec.output
        chosen = load(form.format)

        def make(described: Opened) -> tuple[Opened, Encoder]:
            opened = replace(described, fields=chosen.reads(described.fields, form))
            inside = chosen.compresses_inside
            return opened, Encoder(chosen(opened.fields, form), compressor(form.compression, inside=inside))

        return make

    def _transfer(self, opened: Opened, encoder: Encoder, caller: Caller, held: Held, stop: Stop) -> Delivered:
        from export_runner.pipeline import Pipeline
        from export_runner.sinks import delivery
        from export_runner.source.copying import Reader

        spec, target = self._spec, self._spec.destination
        connection, upload = held.connection, held.upload
        assert connection is not None, "the source is prepared"
        assert upload is not None, "the destination is prepared"
        partial = spec.limits.on_deadline == "Partial"
        reader = Reader(
            connection,
            opened,
            spec.limits.max_value_bytes,
            stop,
            enough=(lambda: self._deadline.reading_remaining() <= 0) if partial else lambda: False,
            beat=self._meter.beat,
        )
        pipeline = Pipeline(reader, encoder, upload.send, limits=spec.limits, meter=self._meter, stop=stop)
        try:
            encoded = self._wait(Task("pipeline", pipeline.run), stop)
        finally:
            self._note_first_row(reader)
        begun = time.monotonic()
        stored = self._wait(Task("complete", lambda: upload.complete(encoded.bytes, encoded.crc32)), stop)
        held.upload = None  # there is nothing to abort any more
        manifest = self._manifest(opened, encoded, stored)
        made = self._wait(Task("commit", lambda: delivery.commit(caller, target, manifest)), stop)
        self._meter.add("commit", time.monotonic() - begun)
        return made

    def _note_first_row(self, reader: Reader) -> None:
        if reader.first_row_at is not None:
            self._meter.seconds["firstRow"] = reader.first_row_at - self._meter.started

    def _manifest(self, opened: Opened, encoded: Encoded, stored: Stored) -> Manifest:
        spec, target = self._spec, self._spec.destination
        return Manifest(
            run=spec.run,
            source=spec.source.name,
            dataset=spec.source.dataset,
            format=spec.output.format,
            compression=spec.output.compression,
            columns=tuple(Column(name=field.name, type=field.type_name) for field in opened.fields),
            rows=encoded.rows,
            objects=(
                ObjectRef(
                    bucket=target.bucket,
                    key=target.key,
                    bytes=encoded.bytes,
                    sha256=encoded.sha256,
                    etag=stored.etag,
                    parts=stored.parts,
                ),
            ),
            complete=encoded.complete,
            nulled=encoded.nulled,
            consistency="Snapshot",
            snapshot=opened.snapshot.id,
            snapshot_time=opened.snapshot.time,
            started_at=self._started_at,
            finished_at=_now(),
            exporter_version=version("export-runner"),
        )

    def _expired(self) -> ExportError:
        meter, seconds = self._meter, self._deadline.seconds
        text = f"Stopped after {seconds:g} s with {meter.rows:,} rows"
        if meter.rows and meter.estimated_rows:
            needed = seconds * max(1.0, meter.estimated_rows / meter.rows) * ENOUGH
            text += f" of about {meter.estimated_rows:,}; a deadline of about {needed:,.0f} s would have sufficed"
        return ExportError(Failure.DEADLINE_EXCEEDED, f"{text}. Nothing was delivered.")


def _let_go(held: Held) -> None:
    """Ends the session and the upload, both at once, in bounded time."""
    tasks: list[Task[object]] = []
    if (upload := held.upload) is not None:
        tasks.append(Task("abort", upload.abort))
    if (connection := held.connection) is not None:
        from export_runner.source.copying import close

        tasks.append(Task("close", lambda: close(connection)))
    for task in tasks:
        task.join(LEFTOVER_SECONDS)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
