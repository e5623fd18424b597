"""Each question of docs/operations/history.md, asked by an auditor of rows that are known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from export_operator.domain.history import parameters_hash
from tests.platform.names import REPOSITORY

from .conftest import Place

pytestmark = pytest.mark.integration

PAGE = REPOSITORY / "docs" / "operations" / "history.md"
SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
S3 = "s3://exports"


def questions() -> Mapping[str, str]:
    """The queries of the page, by their headings."""
    _, _, text = PAGE.read_text(encoding="utf-8").partition("\n## Questions\n")
    found = re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", text, re.DOTALL | re.MULTILINE)
    return {title: re.findall(r"```sql\n(.*?)```", body, re.DOTALL)[0] for title, body in found}


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def told(number: int, completed: datetime, requester: str = "alice", **more: Any) -> Mapping[str, Any]:
    return {
        "run": f"{number:020x}",
        "request_uid": f"uid-{number}",
        "namespace": "team-a",
        "request": f"request-{number}",
        "requester": requester,
        "submitted_by": requester,
        "source": "app-db",
        "dataset": "users",
        "columns": ["id", "email"],
        "phase": "Succeeded",
        "reason": "Delivered",
        "rows": 100,
        "bytes": 2048,
        "uri": f"{S3}/{number}",
        "started_at": completed.replace(minute=0).isoformat(),
        "completed_at": completed.isoformat(),
        "told_by": "request",
        **more,
    }


NOTHING: dict[str, Any] = {"rows": None, "bytes": None, "uri": None, "started_at": None}
CUSTOMER = parameters_hash({"customer": "4711"})
ROWS = (
    told(1, at(1)),
    told(2, at(2), rows=300, sha256=SHA, expires_at="2026-12-02T00:00:00Z"),
    told(3, at(3), "bob", columns=["id"], rows=5000, expires_at="2026-11-10T00:00:00Z"),
    told(4, at(4), "bob", dataset="orders", columns=["id"], parameters_sha256=CUSTOMER, rows=1),
    told(5, at(5), "carol", submitted_by="system:serviceaccount:ci:deploy", namespace="team-b", rows=7),
    told(6, at(6), phase="Rejected", reason="ColumnNotFound", columns=["email"], **NOTHING),
    told(7, at(7), "mallory", phase="Rejected", reason="SourceNotFound", **NOTHING),
    told(8, at(8), "mallory", phase="Rejected", reason="SourceNotFound", **NOTHING),
    told(9, at(9), "mallory", rows=20_000, told_by="job", submitted_by=None),
    told(10, at(20), rows=9000),
    told(11, at(21).replace(minute=7), phase="Failed", reason="SourceUnavailable", failure_class="Source", rows=None),
    told(12, at(22).replace(minute=9), phase="Failed", reason="SourceUnavailable", failure_class="Source", rows=None),
    told(13, at(23), phase="Failed", reason="ParameterInvalid", failure_class="User", rows=None),
    told(14, datetime(2026, 10, 31, 12, tzinfo=UTC), rows=50),
)

ANSWERS: Mapping[str, list[tuple[Any, ...]]] = {
    "Who exported a dataset, and how much of it?": [
        ("mallory", 1, 20_000, at(9)),
        ("alice", 4, 9450, at(20)),
        ("bob", 1, 5000, at(3)),
        ("carol", 1, 7, at(5)),
    ],
    "Who has got a certain column?": [("alice", "team-a"), ("carol", "team-b"), ("mallory", "team-a")],
    "What did a person export within a time?": [
        (at(1), "app-db", "users", 100, 2048, f"{S3}/1"),
        (at(2), "app-db", "users", 300, 2048, f"{S3}/2"),
        (at(20), "app-db", "users", 9000, 2048, f"{S3}/10"),
    ],
    "Who asked in another's name?": [("system:serviceaccount:ci:deploy", "carol", 1, 7)],
    "Was a certain customer exported?": [(at(4), "bob", 1, f"{S3}/4")],
    "Who made this file?": [("alice", "alice", "team-a", "request-2", at(2), f"{S3}/2")],
    "Which exports are still there?": [
        (f"{S3}/14", "alice", None),
        (f"{S3}/1", "alice", None),
        (f"{S3}/2", "alice", datetime(2026, 12, 2, tzinfo=UTC)),
        (f"{S3}/4", "bob", None),
        (f"{S3}/5", "carol", None),
        (f"{S3}/9", "mallory", None),
        (f"{S3}/10", "alice", None),
    ],
    "Whose requests were refused, and why?": [("mallory", "SourceNotFound", 2), ("alice", "ColumnNotFound", 1)],
    "Who exports more than usual?": [("alice", datetime(2026, 11, 20, tzinfo=UTC), 9000, 150)],
    "Who deleted a request while it ran, or at once when it had delivered?": [
        (at(9), "mallory", "team-a", "request-9", "Succeeded", 20_000, f"{S3}/9")
    ],
    "What failed for no fault of its requester, and how long did it take?": [
        ("SourceUnavailable", "Source", 2, at(22).replace(minute=9) - at(22))
    ],
}


def test_every_question_of_the_page_has_its_answer_here() -> None:
    assert list(questions()) == list(ANSWERS)


async def test_the_queries_of_the_page_answer_their_questions(place: Place) -> None:
    assert await place.table.write(ROWS) == {}
    with place.connect("auditor") as connection:
        connection.execute("SET timezone = 'UTC'")
        assert {title: connection.execute(query).fetchall() for title, query in questions().items()} == ANSWERS
