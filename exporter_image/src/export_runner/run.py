"""One run, from spec to delivery: prepare both ends at once, move the rows, commit."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from export_contract.report import Delivered
from export_contract.runspec import Fallback, Limits, RunSpec
from export_runner import fallback, output, parameters, preparing, record
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError
from export_runner.meter import Meter
from export_runner.preparing import EncoderMaker, Held, SinkMaker
from export_runner.record import Way
from export_runner.retry import Retrier
from export_runner.source.plan import Plan
from export_runner.tasks import Task, wait_for

if TYPE_CHECKING:  # heavy: each is imported on the thread that needs it first
    from export_runner.pipeline import Encoded
    from export_runner.sinks.sink import Sink
    from export_runner.source.catalog import Opened
    from export_runner.source.copying import Reader

T = TypeVar("T")

LEFTOVER_SECONDS = 1.0
"""What each of ending the preparations, closing the session and aborting the upload may take when a run ends badly."""


class Run:
    """Lives on the main thread, which only waits: every call to the outside is on a thread of its own."""

    def __init__(
        self,
        spec: RunSpec,
        meter: Meter,
        stop: Stop,
        retrier: Retrier,
        make_sink: SinkMaker = preparing.bucket,
    ) -> None:
        self._make_sink = make_sink
        self._spec = spec
        self._meter = meter
        self._stop = stop
        self._retrier = retrier
        self._deadline: Deadline = retrier.deadline
        self._started_at = record.now()

    def deliver(self) -> Delivered:
        """Exports, unless this run's manifest is there already. Raises `ExportError`, `Stopped`."""
        parameters.validate(self._spec.source.parameters)
        output.validate(self._spec.output)
        fallback.check(self._spec)
        # A lost connection to PostgreSQL takes its snapshot along: the rows are read anew, into a new upload.
        return self._retrier.call("The export", self._attempt)

    def _attempt(self) -> Delivered:
        spec, stop, held = self._spec, self._stop.child(), Held()
        retrier = self._retrier.child(stop)
        self._meter.again()
        begun = time.monotonic()
        gc.disable()  # what is loaded now stays: looking for garbage among it costs a fifth of the start
        preparations = (
            Task(
                "prepare-source", lambda: self._noted("prepare source", lambda: preparing.source(spec, held, retrier))
            ),
            Task(
                "prepare-destination",
                lambda: self._noted(
                    "prepare destination", lambda: preparing.destination(spec, held, retrier, self._make_sink)
                ),
            ),
            Task("prepare-encoder", lambda: preparing.encoder(spec)),
        )
        source, destination, encoder = preparations
        asked = spec.destination.fallback
        earlier = Task("ask-fallback", lambda: fallback.earlier(spec, asked, retrier)) if asked else None
        try:
            found = self._wait(destination, stop)
            if isinstance(found, Delivered):
                self._meter.rows, self._meter.bytes = found.rows, found.bytes
                return found
            self._watch_checkpoint(found)
            if earlier is not None and (before := self._wait(earlier, stop)) is not None:
                self._meter.rows, self._meter.bytes = before.rows, before.bytes
                return before
            described = self._wait(source, stop)
            reads, make = self._wait(encoder, stop)
            opened = reads(described)
            self._describe(opened)
            way = self._wait(Task("settle", lambda: self._settle(opened, found, held, retrier)), stop)
            self._meter.add("connect", time.monotonic() - begun)
            self._meter.resumed_rows = way.start.rows or None  # before its rows are told of
            self._meter.rows = self._meter.read_rows = way.start.rows
            self._meter.bytes = way.start.bytes
            limits = preparing.limits(spec, opened)
            return self._transfer(opened, make, way, found, held=held, stop=stop.child(), limits=limits)
        except ExportError as error:
            held.keep = (stop.reason or error).kind.retryable
            if (other := fallback.answers(error, spec)) is None:
                raise
            return self._fall_back(other, error, (source, encoder), held, stop)
        finally:
            stop.request()
            for task in preparations:
                task.join(LEFTOVER_SECONDS)
            held.let_go(LEFTOVER_SECONDS)
            if not held.keep:
                self._meter.keep_nothing()

    def _fall_back(
        self,
        other: Fallback,
        first: ExportError,
        ready: tuple[Task[Opened], Task[tuple[Callable[[Opened], Opened], EncoderMaker]]],
        held: Held,
        stop: Stop,
    ) -> Delivered:
        """From the first row again, in the same snapshot, into the fallback."""
        self._retrier.note(f"{first.message} The export begins again, into the fallback {other.name!r}.")
        self._deadline.restart(other.deadline_seconds)
        self._meter.again()
        again = self._stop.child()
        source, encoder = ready
        try:
            described = self._wait(source, stop)
            reads, make = self._wait(encoder, stop)
            opened = reads(described)
            self._describe(opened)
            stop.request()  # whoever still tries to reach the destination
            held.give_up_sink(LEFTOVER_SECONDS)
            retrier = self._retrier.child(again)
            begun = Task(
                "prepare-fallback",
                lambda: self._noted("prepare fallback", lambda: preparing.fallback(self._spec, other, held, retrier)),
            )
            found = self._wait(begun, again)
            if isinstance(found, Delivered):
                return found
            limits = fallback.limits(preparing.limits(self._spec, opened), other)
            return self._transfer(
                opened,
                make,
                Way(Plan(), spread=held.spread),
                found,
                held=held,
                stop=again,
                limits=limits,
                used_fallback=True,
            )
        except ExportError as second:
            raise fallback.both(first, other, second) from None
        finally:
            again.request()

    def _wait(self, task: Task[T], stop: Stop) -> T:
        return wait_for(task, self._deadline, stop, lambda: record.expired(self._meter, self._deadline.seconds))

    def _noted(self, step: str, function: Callable[[], T]) -> T:
        with self._meter.step(step):
            return function()

    def _describe(self, opened: Opened) -> None:
        """What is known of the source now, for those who watch."""
        self._meter.estimated_rows, self._meter.estimate_source = opened.estimate.rows, opened.estimate.source
        self._warn(opened.warnings)

    def _warn(self, warnings: tuple[str, ...]) -> None:
        """Each once, however often it is tried."""
        for text in warnings:
            if text not in self._meter.warnings:
                self._meter.warnings.append(text)
                self._retrier.note(text)

    def _watch_checkpoint(self, sink: Sink) -> None:
        from export_runner.sinks.sink import Resumable

        if isinstance(sink, Resumable):
            self._meter.kept = sink.kept

    def _settle(self, opened: Opened, sink: Sink, held: Held, retrier: Retrier) -> Way:
        """Decides how the rows are read, and where from."""
        from export_runner.sinks.sink import Resumable

        plan = preparing.planned(self._spec, opened)
        spread = preparing.spread(self._spec, opened, plan, held, retrier)
        if not isinstance(sink, Resumable):
            return Way(plan, spread=spread)
        terms = preparing.terms(self._spec, opened, plan)
        found = sink.settle(terms)
        if plan.probes and found is None:
            self._warn(sink.probe())
        return Way(plan, terms, found, spread)

    def _transfer(
        self,
        described: Opened,
        make: EncoderMaker,
        way: Way,
        sink: Sink,
        *,
        held: Held,
        stop: Stop,
        limits: Limits,
        used_fallback: bool = False,
    ) -> Delivered:
        opened = preparing.in_order(described, way.plan, way.start)
        encoded = self._moved(opened, make, way, sink, held=held, stop=stop, limits=limits)
        begun = time.monotonic()
        with self._meter.step("manifest"):
            objects = self._wait(Task("complete", lambda: sink.complete(encoded.objects)), stop)
            manifest = record.manifest(self._spec, opened, encoded, objects, way, started_at=self._started_at)
            manifest = replace(manifest, used_fallback=used_fallback)
            made = self._wait(Task("commit", lambda: sink.commit(manifest)), stop)
        self._meter.add("commit", time.monotonic() - begun)
        return made

    def _moved(
        self, opened: Opened, make: EncoderMaker, way: Way, sink: Sink, *, held: Held, stop: Stop, limits: Limits
    ) -> Encoded:
        from export_runner.objects import ObjectCutter
        from export_runner.pipeline import Pipeline

        gc.freeze()
        gc.enable()
        start = way.start
        if start.ended:
            return record.encoded_before(start)
        reader = self._reader(opened, way, held, stop)
        objects = ObjectCutter(
            lambda behind: make(opened.fields, behind), limits, self._spec.output.layout, key=way.plan.key, start=start
        )
        pipeline = Pipeline(reader, objects, sink.send, limits=limits, meter=self._meter, stop=stop)
        try:
            return self._wait(Task("pipeline", pipeline.run), stop)
        finally:
            if reader.first_row_at is not None:
                self._meter.seconds["firstRow"] = reader.first_row_at - self._meter.started

    def _reader(self, opened: Opened, way: Way, held: Held, stop: Stop) -> Reader:
        from export_runner.source.copying import Reader
        from export_runner.source.parallel import ALONE

        def late() -> bool:
            read_back = self._meter.bytes if way.start.parts and not way.start.objects else 0
            return self._deadline.reading_remaining(read_back) <= 0

        assert held.connection is not None, "the source is prepared"
        held.reading = True
        partial = self._spec.limits.on_deadline == "Partial"
        return Reader(
            held.connection,
            opened,
            self._spec.limits.max_value_bytes,
            stop,
            spread=way.spread or ALONE,
            enough=late if partial else lambda: False,
            beat=self._meter.beat,
        )
