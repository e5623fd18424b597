"""Progress lines and the termination message."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.codec import ContractError
from export_contract.report import MAX_TERMINATION_BYTES, Delivered, FailureReport, Outcome, Progress

pytestmark = pytest.mark.unit

PROGRESS = Progress(
    run="r1", rows=10, bytes=20, elapsed_seconds=1.5, estimated_rows=100, estimate_source="StaleStatistics"
)
FAILED = FailureReport(reason="InternalError", failure_class="Infrastructure", message="", retryable=True, exit_code=84)
DELIVERED = Delivered(uri="s3://b/k", manifest_uri="s3://b/m", rows=1, bytes=2, sha256="ab" * 32)


def test_progress_is_this_line() -> None:
    assert PROGRESS.to_json() == (
        '{"type":"progress","run":"r1","rows":10,"bytes":20,"elapsedSeconds":1.5,"estimatedRows":100,'
        '"estimateSource":"StaleStatistics"}'
    )


@pytest.mark.parametrize("progress", [PROGRESS, replace(PROGRESS, resumed_rows=5, checkpoint_rows=8)])
def test_a_progress_line_is_read_back(progress: Progress) -> None:
    assert Progress.from_line(progress.to_json()) == progress


def line(**changes: Any) -> str:
    return json.dumps(json.loads(PROGRESS.to_json()) | changes, separators=(",", ":"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "INFO started",
        '"type":"progress"',
        line()[:-1],
        line(type="result"),
        line(rows="10"),
        line(rows=-1),
        line(rows=2**53 + 1),
        line(bytes=-1),
        line(estimatedRows=-1),
        line(resumedRows=-1),
        line(checkpointRows=2**53 + 1),
        line(estimateSource="Guess"),
        line(elapsedSeconds=-1),
        line(elapsedSeconds=10**9),
        line(elapsedSeconds=float("inf")),
        line(elapsedSeconds=float("nan")),
    ],
)
def test_a_log_line_that_is_no_progress_is_none(text: str) -> None:
    assert Progress.from_line(text) is None


@given(st.text(st.characters(codec="utf-8"), max_size=6000))
def test_a_failure_always_fits_into_a_termination_message(message: str) -> None:
    outcome = Outcome(run="r1", failure=replace(FAILED, message=message), timings={"fetch": 1.5})
    assert len(outcome.to_json().encode()) <= MAX_TERMINATION_BYTES


@pytest.mark.parametrize("character", ["x", "é", "語", "🎉", '"', "\\", "\n", "\0"])
def test_a_message_of_any_characters_is_cut_to_fit_and_read_back(character: str) -> None:
    outcome = Outcome(run="r1", failure=replace(FAILED, message=character * 6000))
    text = outcome.to_json()
    read = Outcome.from_json(text)
    assert read.failure is not None
    assert read == replace(outcome, failure=replace(FAILED, message=read.failure.message))


@pytest.mark.parametrize("character", ["x", "é", "語", "🎉", "\n"])
def test_most_of_the_room_is_used_for_a_cut_message(character: str) -> None:
    outcome = Outcome(run="r1", failure=replace(FAILED, message=character * 6000))
    assert len(outcome.to_json().encode()) > MAX_TERMINATION_BYTES * 0.7


@given(st.text(st.characters(codec="utf-8"), max_size=500))
def test_a_message_that_fits_is_told_whole(message: str) -> None:
    outcome = Outcome(run="r1", failure=replace(FAILED, message=message))
    assert Outcome.from_json(outcome.to_json()) == outcome


def test_a_delivery_is_read_back() -> None:
    outcome = Outcome(run="r1", delivered=DELIVERED, timings={"fetch": 1.0}, peak_memory_bytes=5, rows=1)
    assert Outcome.from_json(outcome.to_json()) == outcome


@pytest.mark.parametrize("parts", [{}, {"delivered": DELIVERED, "failure": FAILED}], ids=["neither", "both"])
def test_an_outcome_is_either_a_delivery_or_a_failure(parts: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="exactly one of 'delivered' and 'failure' must be given"):
        Outcome(run="r1", **parts)
