"""Spans of an attempt, over the real protocol; and a run that is as ever where they do not get through."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from export_contract import names
from export_contract.runspec import RunSpec
from tests.integration.exporter.runner import Exporter, Finished
from tests.services.otlp import Collector, Span, collector
from tests.services.processes import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def found() -> Iterator[Collector]:
    with collector() as made:
        yield made


def traced(exporter: Exporter, **changes: object) -> RunSpec:
    spec = exporter.spec()
    return replace(spec, traceparent=names.traceparent(spec.run.id), **changes)  # type: ignore[arg-type]


def run(exporter: Exporter, spec: RunSpec, endpoint: str) -> Finished:
    return exporter.run(spec, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="30")


def by_name(spans: list[Span]) -> dict[str, Span]:
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def test_an_attempt_and_its_steps_belong_to_the_run(exporter: Exporter, found: Collector) -> None:
    spec = traced(exporter)
    finished = run(exporter, spec, found.endpoint)
    spans = by_name(found.spans())
    attempt = spans.pop("attempt")
    _, trace, parent, _ = names.traceparent(spec.run.id).split("-")
    assert (finished.code, attempt.trace, attempt.parent, attempt.error) == (0, trace, parent, "")
    steps = {"prepare source", "prepare destination", "read", "encode", "upload", "manifest"}
    assert {(name, span.trace, span.parent) for name, span in spans.items()} == {
        (name, trace, attempt.id) for name in steps
    }
    assert all(attempt.began <= span.began <= span.ended <= attempt.ended for span in spans.values())
    assert spans["read"].began <= spans["upload"].ended <= spans["manifest"].ended
    assert finished.outcome.delivered is not None
    told = attempt.attributes
    assert {name: told[name] for name in ("export.request", "export.run", "export.rows", "export.bytes")} == {
        "export.request": "users",
        "export.run": spec.run.id,
        "export.rows": finished.outcome.rows,
        "export.bytes": finished.outcome.delivered.bytes,
    }


def test_a_failed_attempt_says_as_what(exporter: Exporter, found: Collector) -> None:
    spec = exporter.spec(table="no_such_table")
    finished = run(exporter, replace(spec, traceparent=names.traceparent(spec.run.id)), found.endpoint)
    attempt = by_name(found.spans())["attempt"]
    assert finished.reason == "DatasetInvalid"
    assert (attempt.error, attempt.attributes["error.type"]) == ("DatasetInvalid", "DatasetInvalid")


def test_a_collector_that_is_not_there_changes_nothing(exporter: Exporter) -> None:
    finished = run(exporter, traced(exporter), f"http://127.0.0.1:{free_port()}")
    assert (finished.code, finished.outcome.delivered is not None) == (0, True)


def test_a_run_ends_while_a_collector_still_owes_its_answer(exporter: Exporter, found: Collector) -> None:
    found.answers.clear()
    finished = exporter.run(traced(exporter), OTEL_EXPORTER_OTLP_ENDPOINT=found.endpoint)
    assert (finished.code, finished.outcome.delivered is not None) == (0, True)
    assert not found.answers.is_set()


@pytest.mark.parametrize("off", ["no trace", "OTEL_SDK_DISABLED"])
def test_where_traces_are_off_nothing_is_sent(exporter: Exporter, found: Collector, off: str) -> None:
    spec = exporter.spec() if off == "no trace" else traced(exporter)
    disabled = {} if off == "no trace" else {"OTEL_SDK_DISABLED": "true"}
    assert exporter.run(spec, OTEL_EXPORTER_OTLP_ENDPOINT=found.endpoint, **disabled).code == 0
    assert found.bodies == []


def test_nothing_of_opentelemetry_is_loaded_at_the_start() -> None:
    script = "import sys, export_runner.__main__; print([each for each in sys.modules if 'opentelemetry' in each])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
