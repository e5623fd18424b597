"""Spans on their way to an OpenTelemetry collector, by OTLP over HTTP. Nothing waits for it: what it does not take is
dropped, and said in the log."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from export_contract import names
from export_operator.domain.spans import Span

SECONDS = 10.0  # for an answer, tries again within: other than a pod, this process has time
EVERY_MILLIS = 1000  # what ends meanwhile is sent together


class Collector:
    """Set up by the standard variables `OTEL_*`; sends from a thread of its own."""

    def __init__(self, instance: str) -> None:
        """`instance` names this process among the operator's replicas."""
        resource = Resource.create({"service.name": "export-operator", "service.instance.id": instance})
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, id_generator=self._ids
        )
        self._batches = BatchSpanProcessor(OTLPSpanExporter(timeout=SECONDS), schedule_delay_millis=EVERY_MILLIS)
        self._provider.add_span_processor(self._batches)
        self._tracer = self._provider.get_tracer("export_operator")

    def send(self, spans: Iterable[Span]) -> None:
        """Never blocks."""
        for each in spans:
            inside = trace.set_span_in_context(trace.NonRecordingSpan(_context(each.run, each.parent)))
            self._ids.give(names.trace_id(each.run), names.span_id(each.run, each.name))
            span = self._tracer.start_span(
                each.name, inside if each.parent else None, attributes=dict(each.attributes), start_time=_ns(each.began)
            )
            if each.error:
                span.set_status(trace.StatusCode.ERROR, each.error)
            span.end(_ns(each.ended))

    def close(self, seconds: float) -> None:
        """Send what waits, in so many seconds at most. Blocks."""
        last = threading.Thread(target=self._batches.shutdown, name="last spans", daemon=True)  # it takes no bound
        last.start()
        last.join(seconds)


class _Ids(IdGenerator):
    """Gives the ids that it was given: they follow from the run. For one thread."""

    def __init__(self) -> None:
        self._trace = self._span = 0

    def give(self, trace_id: str, span_id: str) -> None:
        self._trace, self._span = int(trace_id, 16), int(span_id, 16)

    def generate_trace_id(self) -> int:
        return self._trace

    def generate_span_id(self) -> int:
        return self._span


def _context(run: str, name: str) -> trace.SpanContext:
    return trace.SpanContext(
        int(names.trace_id(run), 16),
        int(names.span_id(run, name), 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )


def _ns(moment: datetime) -> int:
    """Nanoseconds since the epoch, exactly."""
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1000
