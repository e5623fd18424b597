"""What two requests must have in common for one to take over the other's result."""

from __future__ import annotations

from typing import Any

import pytest

from export_operator.domain.policy import Policy

from .builders import USERS, catalogue, limited, plan, request, source

pytestmark = pytest.mark.unit

PLAIN = plan().effective.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"output": {}},
        {"output": None},
        {"output": {"format": "CSV"}},
        {"output": {"format": "CSV", "compression": "None", "layout": "SingleObject", "csv": {}}},
        {"destination": {"name": "bucket"}},
        {"source": {"name": "app-db", "dataset": "users", "parameters": {}}},
        {"source": {"dataset": "users", "name": "app-db", "columns": list(USERS["columns"])}},
        {"ttlSecondsAfterFinished": 5, "runDeadlineSeconds": 7, "runID": "again", "suspend": True, "priority": "Low"},
        {"requester": {"username": "bob"}},
    ],
)
def test_what_asks_for_the_same_has_the_same_digest(changes: dict[str, Any]) -> None:
    assert plan(request(**changes)).effective.digest == PLAIN


@pytest.mark.parametrize(
    "changes",
    [
        {"output": {"format": "NDJSON"}},
        {"output": {"compression": "Gzip"}},
        {"output": {"csv": {"delimiter": ";"}}},
        {"destination": {"keyPrefix": "compliance"}},
        {"source": {"name": "app-db", "dataset": "users", "columns": ["id"]}},
        {"source": {"name": "app-db", "dataset": "users", "columns": ["created_at", "email", "id"]}},
        {"source": {"name": "app-db", "dataset": "signups", "parameters": {"since": "2026-01-01"}}},
    ],
)
def test_what_asks_for_something_else_has_another(changes: dict[str, Any]) -> None:
    assert plan(request(**changes)).effective.digest != PLAIN


def test_a_value_of_a_parameter_is_part_of_it() -> None:
    def of(since: str) -> str:
        asked = {"name": "app-db", "dataset": "signups", "parameters": {"since": since}}
        return plan(request(source=asked)).effective.digest

    assert of("2026-01-01") == of("2026-01-01") != of("2026-01-02")


def test_what_the_platform_team_fills_in_is_part_of_it() -> None:
    wider = source(datasets=[{**USERS, "columns": [*USERS["columns"], "phone"]}])
    zipped = Policy("p", {"defaults": {"compression": "Gzip"}})
    given = (
        plan(known=catalogue(wider, *catalogue().destinations.values())),
        plan(rules=zipped),
        plan(request(output={"compression": "None"}), rules=zipped),
        plan(rules=limited({"defaults": {"runDeadlineSeconds": 9}})),
    )
    assert [each.effective.digest == PLAIN for each in given] == [False, False, True, True]


def test_it_stays_what_it_was() -> None:
    """It stands in status and ledger, which outlive the operator that wrote it."""
    assert PLAIN == "46dcdf5799ad46cdf4b6fb37650023b992ea2ddb7946dbe78f633388585fee2d"
