"""The operator's spans, over the real protocol, to a collector that answers, and to others."""

from datetime import UTC, datetime, timedelta

import pytest

from export_contract import names
from export_operator.adapters.otlp import Collector as Sender
from export_operator.domain.spans import Span
from tests.platform.waiting import until
from tests.services import otlp
from tests.services.otlp import collector
from tests.services.processes import free_port

pytestmark = pytest.mark.integration

RUN = names.run_id("0b5e9f5c-6c1d-4f0e-9a59-5d2f3c1b7a10", "")
BEGAN = datetime(2026, 11, 24, 12, 0, 0, 250_000, UTC)
NS = 1_795_521_600_250_000_000
SPANS = (
    Span(run=RUN, name="run", began=BEGAN, ended=BEGAN + timedelta(seconds=2)),
    Span(
        run=RUN,
        name="export",
        parent="",
        began=BEGAN,
        ended=BEGAN + timedelta(seconds=3),
        attributes={"export.rows": 7},
        error="SourceUnavailable",
    ),
)


def test_spans_arrive_under_the_ids_that_follow_from_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = names.span_id(RUN, "export")
    with collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        sender = Sender("replica-1")
        sender.send(SPANS)
        sender.close(30)
        run, export = found.spans()
    common = {"trace": names.trace_id(RUN), "service": "export-operator", "began": NS}
    assert run == otlp.Span(
        id=names.traceparent(RUN).split("-")[2],
        parent=whole,
        name="run",
        ended=NS + 2_000_000_000,
        attributes={},
        error="",
        **common,  # type: ignore[arg-type]
    )
    assert export == otlp.Span(
        id=whole,
        parent="",
        name="export",
        ended=NS + 3_000_000_000,
        attributes={"export.rows": 7},
        error="SourceUnavailable",
        **common,  # type: ignore[arg-type]
    )


def test_they_are_sent_without_waiting_for_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        sender = Sender("replica-1")
        sender.send(SPANS)
        until("the spans", lambda: len(found.spans()) == 2, 30)
        sender.close(30)


def test_a_collector_that_never_answers_holds_up_neither_work_nor_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as found:
        found.answers.clear()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        sender = Sender("replica-1")
        for _ in range(5000):  # more than are kept
            sender.send(SPANS)
        until("somebody to wait for an answer", lambda: found.bodies, 30)
        sender.close(0.2)
        assert not found.answers.is_set()


def test_one_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    sender = Sender("replica-1")
    sender.send(SPANS)
    sender.close(30)
    sender.send(SPANS)
