"""The hard limits: counted while rows come, however these are read and whatever the deadline does."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.runspec import Limits, Resume, RunSpec
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services.data import COLUMNS

pytestmark = pytest.mark.integration

ROWS = 100_000
OnDeadline = Literal["Fail", "Partial"]


@dataclass(frozen=True)
class Exceeded:
    """Limits that a run exceeds, and what is said of it."""

    max_rows: int
    max_bytes: int
    failure: Failure
    said: str


@pytest.mark.parametrize(
    "limit",
    [
        Exceeded(ROWS - 1, 0, Failure.ROW_LIMIT_EXCEEDED, "There are more than 99,999 rows (maxRows)."),
        Exceeded(
            0,
            10_000_000,
            Failure.BYTE_LIMIT_EXCEEDED,
            "There are more than 10,000,000 bytes (maxBytes).",
        ),
    ],
    ids=["rows", "bytes"],
)
@pytest.mark.parametrize("on_deadline", ["Fail", "Partial"])
@pytest.mark.parametrize("resume", ["Always", "Never"], ids=["ordered", "physical"])
def test_one_more_than_allowed_delivers_nothing_and_leaves_nothing(
    exporter: Exporter, limit: Exceeded, on_deadline: OnDeadline, resume: Resume
) -> None:
    limits = Limits(on_deadline=on_deadline, max_rows=limit.max_rows, max_bytes=limit.max_bytes)
    spec = spec_of(exporter, COLUMNS, limits, resume)
    done = exporter.run(spec)
    kind = FAILURES[limit.failure]
    assert (done.reason, done.message, done.code) == (kind.reason, limit.said, kind.exit_code), done.said
    assert exporter.leaves_nothing(spec)
    assert not (exporter.s3.data / BUCKET / spec.destination.checkpoint_key).exists()


@pytest.mark.parametrize("resume", ["Always", "Never"], ids=["ordered", "physical"])
def test_as_many_rows_as_allowed_are_delivered(exporter: Exporter, resume: Resume) -> None:
    done = exporter.run(spec_of(exporter, ("id",), Limits(max_rows=ROWS), resume))
    assert (done.code, done.outcome.rows) == (0, ROWS), done.said


def spec_of(exporter: Exporter, columns: tuple[str, ...], limits: Limits, resume: Resume) -> RunSpec:
    """`Always` reads in the order of the key and keeps a checkpoint."""
    made = exporter.spec(columns, limits=limits)
    target = dataclasses.replace(made.destination, checkpoint_key=f".export-operator/{made.run.id}/checkpoint.json")
    return dataclasses.replace(made, destination=target, resume=resume)
