"""Lines of the log: one a fact, whatever is in it."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract import names
from export_contract.logs import About, Line, message_of

pytestmark = pytest.mark.unit

RUN = names.run_id("0b5e9f5c-6c1d-4f0e-9a59-5d2f3c1b7a10", "")
TRACE = names.trace_id(RUN)
LINE = Line(
    time=datetime(2026, 11, 24, 12, 0, 0, 250_000, UTC),
    level="WARNING",
    logger="export_runner",
    message='PutObject failed (it said "no")\nand is tried again',
    about=About("team-a/users", RUN),
)
anything = st.text(st.characters(exclude_categories=()))
messages = st.text(st.characters(codec="utf-8"))


def test_as_json_each_thing_is_a_field() -> None:
    assert json.loads(LINE.to_json()) == {
        "time": "2026-11-24T12:00:00.250Z",
        "level": "warning",
        "logger": "export_runner",
        "message": 'PutObject failed (it said "no")\nand is tried again',
        "request": "team-a/users",
        "run": RUN,
        "trace_id": TRACE,
    }


def test_as_text_it_is_read_from_left_to_right() -> None:
    assert LINE.to_text() == (
        '2026-11-24T12:00:00.250Z WARNING export_runner: PutObject failed (it said "no")\\nand is tried again'
        f" request=team-a/users run={RUN} trace_id={TRACE}"
    )


def test_a_line_about_nothing_has_none_of_these_fields() -> None:
    line = replace(LINE, about=About(), message="leading")
    assert set(json.loads(line.to_json())) == {"time", "level", "logger", "message"}
    assert line.to_text() == "2026-11-24T12:00:00.250Z WARNING export_runner: leading"


def test_a_traceback_is_a_field_or_stands_below() -> None:
    line = replace(LINE, message="odd", about=About(), exception="Traceback\n  there\nValueError")
    assert json.loads(line.to_json())["exception"] == "Traceback\n  there\nValueError"
    assert line.to_text().splitlines()[1:] == ["Traceback", "  there", "ValueError"]


@given(anything, anything)
def test_whatever_is_said_it_is_one_line_that_can_be_encoded(message: str, request: str) -> None:
    line = replace(LINE, message=message, about=About(request, RUN))
    for text in (line.to_json(), replace(line, about=About("team-a/users", RUN)).to_text()):
        assert (len(text.encode().splitlines()), "\x1b" in text) == (1, False)


@given(messages)
def test_as_json_the_message_is_found_again(message: str) -> None:
    assert message_of(replace(LINE, message=message).to_json()) == message


@given(st.text(st.characters(categories=("L", "N", "P", "Zs"))), st.sampled_from([LINE.about, About(), About("a/b")]))
def test_as_text_the_message_is_found_again(message: str, about: About) -> None:
    assert message_of(replace(LINE, message=message, about=about).to_text()) == message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Gave up after 4 tries.",
        '{"type":"progress","run":"r"}',
        '{"message":"of a stranger"}',
        '{"logger":"x"',
        "[" * 9,
    ],
)
def test_what_is_no_such_line_has_no_message(line: str) -> None:
    assert message_of(line) is None


def test_a_trace_begins_with_its_run_and_is_as_long_as_w3c_wants_it() -> None:
    assert (TRACE.startswith(RUN), len(TRACE), int(TRACE, 16) > 0) == (True, 32, True)


@given(anything)
def test_whatever_a_run_is_called_its_trace_is_32_hex_digits(run: str) -> None:
    found = names.trace_id(run.encode("utf-8", "replace").decode())
    assert (len(found), set(found) <= set("0123456789abcdef")) == (32, True)


@given(st.sets(st.text(st.sampled_from("0123456789abcdef"), min_size=20, max_size=20), min_size=2))
def test_no_two_runs_share_a_trace(runs: set[str]) -> None:
    assert len(set(map(names.trace_id, runs))) == len(runs)
