"""What is refused for an estimate, and what is not: a guess ends no run."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.failures import Failure
from export_contract.runspec import Compression, Destination, Format, Limits, Output, Relation, Run, RunSpec, Source
from export_runner.errors import ExportError
from export_runner.source.estimate import EXCESS, Estimate, Statistics, judged, refuse

pytestmark = pytest.mark.unit

GATHERED = "2026-11-24T12:00:00Z"
SOURCE = Source(
    name="s", dataset="d", host="h", database="b", columns=("id",), relation=Relation(schema="public", table="t")
)
COUNTED = Estimate(rows=1_000_000, row_bytes=100, source="Statistics", gathered=GATHERED)


def spec(output: Output | None = None, *, max_rows: int = 0, max_bytes: int = 0) -> RunSpec:
    return RunSpec(
        run=Run(id="r", namespace="n", name="m", uid="u"),
        source=SOURCE,
        destination=Destination(name="d", bucket="b", key="k", manifest_key="m"),
        output=output or Output(),
        limits=Limits(max_rows=max_rows, max_bytes=max_bytes),
    )


def refused(given: RunSpec, estimate: Estimate, row_bytes: float = 10.0) -> tuple[Failure, str] | None:
    try:
        refuse(given, estimate, lambda: row_bytes)
    except ExportError as error:
        return error.failure, error.message
    return None


def test_rows_over_five_times_the_limit_are_refused_with_what_that_rests_on() -> None:
    assert refused(spec(max_rows=199_999), COUNTED) == (
        Failure.ROW_LIMIT_EXCEEDED,
        (
            "Refused before the first row: public.t has about 1,000,000 rows, more than 5 times what maxRows (199,999)"
            f" allows. This rests on statistics of {GATHERED}; if much changed since, ANALYZE public.t."
        ),
    )


def test_bytes_over_five_times_the_limit_are_refused_with_what_that_rests_on() -> None:
    assert refused(spec(max_bytes=1_999_999), COUNTED) == (
        Failure.BYTE_LIMIT_EXCEEDED,
        (
            "Refused before the first row: public.t has about 1,000,000 rows, more than 5 times what maxBytes"
            " (1,999,999) allows, since they are 10,000,000 bytes at least. This rests on statistics of"
            f" {GATHERED}; if much changed since, ANALYZE public.t."
        ),
    )


@pytest.mark.parametrize(
    ("given", "estimate"),
    [
        (spec(max_rows=200_000), COUNTED),
        (spec(max_bytes=2_000_000), COUNTED),
        (spec(), COUNTED),
        (spec(max_rows=1), dataclasses.replace(COUNTED, source="StaleStatistics")),
        (spec(max_rows=1), dataclasses.replace(COUNTED, source="Planner")),
        (spec(max_rows=1, max_bytes=1), Estimate()),
    ],
    ids=["five times the rows", "five times the bytes", "no limit", "stale statistics", "a guess", "no estimate"],
)
def test_what_may_come_to_a_good_end_is_not_refused(given: RunSpec, estimate: Estimate) -> None:
    assert refused(given, estimate) is None


@pytest.mark.parametrize(
    ("form", "compression"), [("CSV", "Gzip"), ("NDJSON", "Zstd"), ("Parquet", "None"), ("ArrowStream", "None")]
)
def test_bytes_of_a_compressed_object_are_not_foretold(form: Format, compression: Compression) -> None:
    assert refused(spec(Output(format=form, compression=compression), max_bytes=1), COUNTED) is None


FRESH = Statistics(rows=1000, changed=150, gathered=GATHERED)


@pytest.mark.parametrize(
    ("source", "known", "expected"),
    [
        ({}, FRESH, "Statistics"),
        ({}, dataclasses.replace(FRESH, changed=151), "StaleStatistics"),
        ({}, dataclasses.replace(FRESH, changed=0, gathered=""), "StaleStatistics"),
        ({}, None, "Planner"),
        ({"row_filter": "id > 5"}, FRESH, "Planner"),
        ({"relation": None, "query": "SELECT 1 AS id"}, None, "Planner"),
    ],
    ids=["few changes", "many changes", "never gathered", "no table", "a filter", "a query"],
)
def test_an_estimate_says_what_it_rests_on(source: dict[str, Any], known: Statistics | None, expected: str) -> None:
    assert judged(dataclasses.replace(SOURCE, **source), 1000, 10, known).source == expected


def test_without_a_plan_there_is_no_estimate() -> None:
    assert judged(SOURCE, None, None, FRESH) == Estimate()


@given(st.integers(0, 10**12), st.integers(1, 10**9), st.integers(1, 10**9), st.floats(0, 10**6))
def test_nothing_is_refused_that_is_within_the_limits(rows: int, most: int, size: int, row_bytes: float) -> None:
    found = refused(spec(max_rows=most, max_bytes=size), dataclasses.replace(COUNTED, rows=rows), row_bytes)
    assert found is None or rows > EXCESS * most or int(rows * row_bytes) > EXCESS * size
