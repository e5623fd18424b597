"""Which texts are values of a parameter's type. The operator refuses the others before a Job exists, the exporter
before it connects; both by this table."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from export_contract.runspec import Parameter

MAX_SHOWN = 40  # characters of a wrong value that a message repeats


def _integer(low: int, high: int) -> Callable[[str], bool]:
    return lambda text: bool(re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII)) and low <= int(text) <= high


def _numeric(text: str) -> bool:
    try:
        return re.fullmatch(r"[+-]?[0-9.]{1,200}", text) is not None and Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) is not None and _parses(date.fromisoformat, text)


def _moment(*, zone: bool) -> Callable[[str], bool]:
    shape = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?" + (r"(Z|[+-]\d{2}(:?\d{2})?)" if zone else "")
    # Python 3.11 reads hours-only offsets in the basic form alone, so the offset is completed first.
    return lambda text: (
        re.fullmatch(shape, text, re.ASCII) is not None
        and _parses(datetime.fromisoformat, re.sub(r"([T ].*[+-]\d{2})$", r"\1:00", text))
    )


def _uuid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None and _parses(
        uuid.UUID, text
    )


def _parses(parser: Callable[[str], object], text: str) -> bool:
    try:
        parser(text)
    except ValueError:
        return False
    return True


_TYPES: dict[str, tuple[Callable[[str], bool], str]] = {
    "text": (lambda text: "\0" not in text, "text without NUL characters"),
    "integer": (_integer(-(2**31), 2**31 - 1), "a whole number from -2147483648 to 2147483647"),
    "bigint": (_integer(-(2**63), 2**63 - 1), "a whole number from -9223372036854775808 to 9223372036854775807"),
    "numeric": (_numeric, "a decimal number such as 12.50"),
    "boolean": (lambda text: text in {"true", "false"}, "true or false"),
    "date": (_date, "a date such as 2026-01-31"),
    "timestamp": (_moment(zone=False), "a time such as 2026-01-31T12:00:00"),
    "timestamptz": (_moment(zone=True), "a time with its offset, such as 2026-01-31T12:00:00Z"),
    "uuid": (_uuid, "a UUID such as 123e4567-e89b-12d3-a456-426614174000"),
}


def problem(parameter: Parameter) -> str | None:
    """What is wrong with the parameter's value, as a sentence without its name; None when nothing is."""
    valid, expected = _TYPES[parameter.type]
    if valid(parameter.value):
        return None
    shown = parameter.value if len(parameter.value) <= MAX_SHOWN else parameter.value[:MAX_SHOWN] + "…"
    return f"{shown!r} is not a value of type {parameter.type}; give {expected}."
