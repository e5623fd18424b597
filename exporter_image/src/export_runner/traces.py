"""Spans of an attempt, for an OpenTelemetry collector: told beside the run, and never at its cost.

Nothing of OpenTelemetry is loaded before the source and the destination are prepared, and nothing at all where traces
are off or the collector cannot be reached. A span has names, numbers and reasons, and no value of a row or credential.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from export_contract.report import Outcome
from export_contract.runspec import RunSpec
from export_runner.meter import Meter, Step

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

TIMEOUT = "OTEL_EXPORTER_OTLP_TIMEOUT"
PATIENCE = 1.0
"""Seconds that a collector has for an answer, unless `TIMEOUT` gives others. A run that has ended waits for the rest of
them, and no longer."""
LOADING_SECONDS = 10.0
"""For OpenTelemetry itself: a quarter of a second's work, on a machine that has others."""
LOOK_SECONDS = 0.05
CONNECT_SECONDS = 10.0
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PREFLIGHT = {"prepare source", "prepare destination"}


class Traces:
    """Tells of one attempt. Where the environment names no collector, or the spec no trace, it does nothing."""

    def __init__(self, spec: RunSpec, meter: Meter) -> None:
        variables = os.environ
        self._spec = spec
        self._meter = meter
        self._endpoint = next((value for name in ENDPOINTS if (value := variables.get(name, "").strip())), "")
        off = variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        self._on = bool(spec.traceparent and self._endpoint and not off)
        self._timeout = variables.get(TIMEOUT, "").strip()
        self._patience = PATIENCE
        self._outcome: Outcome | None = None
        self._ended = threading.Event()
        self._reached: bool | None = None
        """None: not known yet."""
        self._asked_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        if self._on:
            self._thread.start()

    def finish(self, outcome: Outcome) -> None:
        """The attempt has ended so, and everybody who must know has been told. Waits only for a collector that was
        reached, and for each of two answers no longer than its patience. One that is not reached yet has as long from
        the attempt's begin: that may be a moment ago."""
        if not self._on or self._outcome is not None:
            return
        self._outcome = outcome
        self._ended.set()
        loaded_by = time.monotonic() + LOADING_SECONDS
        while self._reached is not False and self._thread.is_alive():
            asked = self._asked_at
            until = loaded_by if asked is None else asked + self._patience
            left = (until if self._reached else self._meter.started + self._patience) - time.monotonic()
            if left <= 0:
                return
            self._thread.join(min(left, LOOK_SECONDS))

    def _run(self) -> None:
        with suppress(Exception):  # whatever is wrong with it is no concern of the run's
            self._patience = float(self._timeout or PATIENCE)
            if self._reach():
                self._tell()

    def _reach(self) -> bool:
        """Whether somebody listens: known before anything is loaded."""
        place = urlsplit(self._endpoint)
        port = place.port or (443 if place.scheme == "https" else 80)
        try:
            socket.create_connection((place.hostname or "", port), CONNECT_SECONDS).close()
        except OSError:
            self._reached = False
        else:
            self._reached = True
        return self._reached

    def _tell(self) -> None:
        """What is prepared as soon as it is, so that it is known of an attempt that is killed; the rest at the end."""
        while "connect" not in self._meter.seconds and not self._ended.wait(LOOK_SECONDS):
            pass
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "export-runner", "service.instance.id": socket.gethostname()})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        tracer = provider.get_tracer("export_runner")
        exporter = OTLPSpanExporter(timeout=self._patience)
        parent = TraceContextTextMapPropagator().extract({"traceparent": self._spec.traceparent})
        # The monotonic clock's zero on the wall clock, in nanoseconds.
        zero = time.time_ns() - time.monotonic_ns()
        attempt = tracer.start_span("attempt", parent, start_time=zero + int(self._meter.started * 1e9))
        inside = trace.set_span_in_context(attempt)

        def told(name: str, step: Step) -> ReadableSpan:
            span = tracer.start_span(name, inside, start_time=zero + int(step.begun * 1e9))
            span.set_attributes(self._of_step(name, step))
            return _ended(span, zero + int(step.ended * 1e9))

        prepared = {name: step for name, step in dict(self._meter.steps).items() if name in PREFLIGHT}
        self._send(exporter, [told(*each) for each in prepared.items()])
        self._ended.wait()
        assert self._outcome is not None, "it has ended"
        rest = [told(*each) for each in dict(self._meter.steps).items() if each[0] not in prepared]
        attempt.set_attributes(self._of_attempt(self._outcome))
        if self._outcome.failure is not None:
            attempt.set_status(trace.StatusCode.ERROR, self._outcome.failure.reason)
        self._send(exporter, [*rest, _ended(attempt, zero + time.monotonic_ns())])

    def _send(self, exporter: SpanExporter, spans: list[ReadableSpan]) -> None:
        if not spans:
            return
        self._asked_at = time.monotonic()
        if exporter.export(spans).name != "SUCCESS":
            self._reached = False  # nobody waits for it any more
        self._asked_at = None

    def _of_step(self, name: str, step: Step) -> dict[str, Any]:
        found: dict[str, Any] = {"export.busy_seconds": round(step.seconds, 3)}
        if name in {"encode", "upload"}:
            found |= {"export.pieces": step.times, "export.bytes": self._meter.bytes}
        if name == "read":
            found["export.rows"] = self._meter.read_rows
        if name in {"prepare source", "read"}:
            found |= {"db.system.name": "postgresql", "export.source": self._spec.source.name}
        return found

    def _of_attempt(self, outcome: Outcome) -> dict[str, Any]:
        run, delivered, failure = self._spec.run, outcome.delivered, outcome.failure
        found: dict[str, Any] = {
            "k8s.namespace.name": run.namespace,
            "export.request": run.name,
            "export.run": run.id,
            "export.rows": outcome.rows,
            "export.retries": sum(outcome.retries.values()),
            "export.peak_memory_bytes": outcome.peak_memory_bytes,
        }
        if delivered is not None:
            found |= {"export.bytes": delivered.bytes, "export.used_fallback": delivered.used_fallback}
        if failure is not None:
            found |= {"error.type": failure.reason, "export.failure_class": failure.failure_class}
        return found


def _ended(span: Span, at: int) -> ReadableSpan:
    """The span as it is sent: every one is recorded, and so can be read."""
    span.end(at)
    return cast("ReadableSpan", span)
