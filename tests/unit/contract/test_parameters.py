"""Which texts are values of which type."""

from __future__ import annotations

from typing import get_args

import pytest

from export_contract.parameters import problem
from export_contract.runspec import Parameter, ParameterType

pytestmark = pytest.mark.unit

GOOD: dict[ParameterType, list[str]] = {
    "text": ["", "x", "'; DROP TABLE users; --", "é\n\t"],
    "integer": ["0", "-0", "+7", "2147483647", "-2147483648", "007"],
    "bigint": ["9223372036854775807", "-9223372036854775808"],
    "numeric": ["0", "12.50", "-.5", "5.", "+1", "9" * 200],
    "boolean": ["true", "false"],
    "date": ["2026-01-31", "2024-02-29", "0001-01-01"],
    "timestamp": ["2026-01-31", "2026-01-31T12:00", "2026-01-31 12:00:00", "2026-01-31T12:00:00.123456"],
    "timestamptz": [
        "2026-01-31T12:00:00Z",
        "2026-01-31 12:00:00+01",
        "2026-01-31T12:00:00.5-03:30",
        "2026-01-31T12:00+0100",
    ],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
}
BAD: dict[ParameterType, list[str]] = {
    "text": ["a\0b"],
    "integer": ["", " 1", "1 ", "1\n", "1.0", "1e3", "2147483648", "-2147483649", "٣", "0x10", "1_000", "NaN"],
    "bigint": ["9223372036854775808", "-9223372036854775809", "1" * 30, "one"],
    "numeric": ["", ".", "+", "1e5", "NaN", "Infinity", "1,5", "1.2.3", "٣", "9" * 201, "1\n"],
    "boolean": ["", "True", "1", "yes", "t"],
    "date": ["", "2026-02-30", "2026-1-1", "20260101", "2026-01-01\n", "0000-01-01", "2026-W01-1", "today"],
    "timestamp": ["", "2026-01-31T25:00:00", "2026-01-31T12:00:00Z", "2026-01-31T12", "now", "2026-02-30T00:00:00"],
    "timestamptz": [
        "",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00 UTC",
        "2026-01-31T12:00:00+25:00",
        "2026-01-31T24:61:00Z",
    ],
    "uuid": ["", "123e4567e89b12d3a456426614174000", "{123e4567-e89b-12d3-a456-426614174000}", "x" * 36],
}


def cases(table: dict[ParameterType, list[str]]) -> list[tuple[ParameterType, str]]:
    return [(kind, value) for kind, values in table.items() for value in values]


@pytest.mark.parametrize(("kind", "value"), cases(GOOD))
def test_a_value_of_its_type_has_no_problem(kind: ParameterType, value: str) -> None:
    assert problem(Parameter(name="p", type=kind, value=value)) is None


@pytest.mark.parametrize(("kind", "value"), cases(BAD))
def test_a_value_of_another_type_is_a_problem(kind: ParameterType, value: str) -> None:
    assert problem(Parameter(name="p", type=kind, value=value)) is not None


def test_every_type_is_tried() -> None:
    assert list(GOOD) == list(BAD) == list(get_args(ParameterType))


def test_a_problem_repeats_the_value_and_says_what_to_give() -> None:
    found = problem(Parameter(name="p", type="boolean", value="yes"))
    assert found == "'yes' is not a value of type boolean; give true or false."


def test_a_long_value_is_not_repeated_whole() -> None:
    found = problem(Parameter(name="p", type="integer", value="x" * 1000))
    assert found is not None
    assert found.startswith(repr("x" * 40 + "…") + " is not a value of type integer; ")
