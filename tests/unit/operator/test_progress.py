"""How far a run is: never backwards, and no end is foreseen that is not to be foreseen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.report import EstimateSource, Progress
from export_operator.domain import times
from export_operator.domain.progress import progress_status

from .builders import NOW, RUN, later

pytestmark = pytest.mark.unit

DAY = 86_400


def progress(rows: int, *, estimated: int | None = 1000, seconds: float = 2.0, resumed: int | None = None) -> Progress:
    source: EstimateSource = "Statistics" if estimated is not None else ""
    return Progress(
        run=RUN,
        rows=rows,
        bytes=rows * 10,
        elapsed_seconds=seconds,
        estimated_rows=estimated,
        estimate_source=source,
        resumed_rows=resumed,
    )


SHOWN = {
    "rows": 100,
    "bytes": 1000,
    "rowsPerSecond": 50,
    "heartbeatTime": "2026-11-24T12:00:00Z",
    "estimatedRows": 1000,
    "estimateSource": "Statistics",
    "percent": 10,
    "estimatedCompletionTime": "2026-11-24T12:00:18Z",
}


def test_the_first_progress_is_shown_whole() -> None:
    assert progress_status(None, progress(100), NOW) == SHOWN


def test_progress_without_an_estimate_has_no_percent_and_foresees_no_end() -> None:
    foreseen = {"estimatedRows", "estimateSource", "percent", "estimatedCompletionTime"}
    assert progress_status(None, progress(100, estimated=None), NOW) == {
        name: value for name, value in SHOWN.items() if name not in foreseen
    }


def test_an_attempt_that_goes_on_behind_a_row_has_the_rate_and_the_end_of_its_own_rows() -> None:
    assert progress_status(None, progress(500, resumed=400), NOW) == SHOWN | {
        "rows": 500,
        "bytes": 5000,
        "percent": 50,
        "resumedRows": 400,
        "estimatedCompletionTime": "2026-11-24T12:00:10Z",
    }


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (progress(1000), "all that was estimated is there"),
        (progress(5000), "there are more than was estimated"),
        (progress(400, resumed=400), "it has only gone on where it was"),
        (progress(1, estimated=2**53, seconds=10.0**8), "it is further away than a guess reaches"),
    ],
)
def test_no_end_is_foreseen_when(told: Progress, why: str) -> None:
    assert "estimatedCompletionTime" not in (progress_status(None, told, NOW) or {}), why


def test_the_end_that_is_foreseen_moves_with_the_rate() -> None:
    slower = progress_status(SHOWN, progress(200, seconds=20), later(18))
    assert slower is not None
    assert (slower["rowsPerSecond"], slower["estimatedCompletionTime"]) == (10, "2026-11-24T12:01:38Z")


@pytest.mark.parametrize(
    ("rows", "seconds", "why"),
    [
        (99, 18, "it would go backwards"),
        (100, 18, "nothing has moved"),
        (500, 9, "the last one is not old enough"),
        (109, 18, "it is less than a percent"),
    ],
)
def test_progress_stays_when(rows: int, seconds: int, why: str) -> None:
    assert progress_status(SHOWN, progress(rows), later(seconds)) == SHOWN, why


@pytest.mark.parametrize("rows", [0, 100, 109], ids=["another attempt", "nothing moves", "hardly anything moves"])
def test_an_end_that_was_foreseen_and_has_passed_is_told_no_longer(rows: int) -> None:
    stalled = {name: value for name, value in SHOWN.items() if name != "estimatedCompletionTime"}
    assert progress_status(SHOWN, progress(rows), later(19)) == stalled
    assert progress_status(stalled, progress(rows), later(60)) == stalled


def test_progress_that_is_ahead_old_enough_and_far_enough_is_shown() -> None:
    assert progress_status(SHOWN, progress(110), later(10)) == SHOWN | {
        "rows": 110,
        "bytes": 1100,
        "rowsPerSecond": 55,
        "heartbeatTime": "2026-11-24T12:00:10Z",
        "percent": 11,
        "estimatedCompletionTime": "2026-11-24T12:00:26Z",
    }


def test_nothing_known_changes_nothing() -> None:
    assert progress_status(SHOWN, None, later(99)) == SHOWN


def test_a_wrong_estimate_never_says_that_it_is_done() -> None:
    found = progress_status(None, progress(5000), NOW)
    assert found is not None
    assert found["percent"] == 99


reports = st.builds(
    Progress,
    run=st.just(RUN),
    rows=st.integers(0, 2**53),
    bytes=st.integers(0, 2**53),
    elapsed_seconds=st.floats(0, 10**8),
    estimated_rows=st.none() | st.integers(0, 2**53),
)


@given(st.lists(st.tuples(st.none() | reports, st.integers(0, 30)), max_size=20))
def test_progress_never_goes_backwards(told: list[tuple[Progress | None, int]]) -> None:
    shown, clock = None, 0
    numbers: dict[str, list[Any]] = {name: [] for name in ("rows", "bytes", "percent", "heartbeatTime")}
    for report, seconds in told:
        clock += seconds
        shown = progress_status(shown, report, later(clock))
        for name, found in numbers.items():
            if shown and name in shown:
                found.append(shown[name])
            else:
                assert not found, f"{name} was known before"
    assert numbers == {name: sorted(found) for name, found in numbers.items()}


def test_an_estimate_that_has_grown_stops_no_progress() -> None:
    found = progress_status(SHOWN, progress(400, estimated=10_000), later(60))
    assert found is not None
    assert (found["rows"], found["percent"], found["estimatedRows"]) == (400, 10, 10_000)


@given(reports)
def test_the_end_that_is_foreseen_is_a_time_and_not_past(report: Progress) -> None:
    foreseen = (progress_status(None, report, NOW) or {}).get("estimatedCompletionTime")
    moment = times.parse(foreseen)
    assert (moment is None) == (foreseen is None)
    assert moment is None or NOW <= moment <= later(366 * DAY)


@given(reports)
def test_every_number_of_progress_fits_into_an_int64(report: Progress) -> None:
    found = progress_status(None, report, NOW) or {}
    assert [value for value in found.values() if isinstance(value, int) and not 0 <= value < 2**63] == []
