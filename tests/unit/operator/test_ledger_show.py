"""What people read of the ledger: use beside today's limits, in columns, and nothing that steers their terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest

from export_operator.__main__ import main
from export_operator.commands.text import RED, counted, painted, plain, table
from export_operator.domain.consumption import Consumption, consumption
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key, Named
from export_operator.domain.pages import Entry, Page, State
from export_operator.domain.policy import Defaults
from export_operator.domain.windows import Sliding

from .builders import NOW, later

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")
DAY = Sliding(timedelta(days=1))
TWO_DAYS = Sliding(timedelta(days=2))


def entry(run: str, seconds: float = -60, policy: str = "built-in") -> Entry:
    one = Entry(run=run, request=Key("team-a", run), uid=run, time=later(seconds), user="alice", policy=policy)
    return replace(one, rows=100)


def told(page: Page, *policies: Named, subject: Subject = ALICE) -> list[Consumption]:
    return consumption(subject, page, {each.name: each for each in policies}, Defaults(), NOW)


def test_without_a_policy_five_requests_a_day_are_the_limit() -> None:
    page = Page((entry("a"), entry("b", -2 * 86_400)))
    assert told(page) == [Consumption(ALICE, "requests", 1, DAY, 5, "built-in")]


def test_a_full_window_says_when_there_is_room_again() -> None:
    page = Page(tuple(entry(str(number), -60 - number) for number in range(5)))
    (found,) = told(page)
    assert (found.full, found.next_free) == (True, later(86_400 - 64))


def test_each_resource_that_the_newest_runs_policy_limits_is_told() -> None:
    limits = {"windowSeconds": 172_800, "user": {"requests": 3, "rows": 150}}
    page = Page((entry("a", -3600), entry("b", policy="analysts")))
    assert told(page, Named("analysts", {"limits": limits})) == [
        Consumption(ALICE, "requests", 2, TWO_DAYS, 3, "analysts"),
        Consumption(ALICE, "rows", 200, TWO_DAYS, 150, "analysts", full=True, next_free=later(2 * 86_400 - 3600)),
    ]


def test_launches_are_told_where_they_are_what_is_full() -> None:
    refunded = tuple(replace(entry(str(number)), state=State.REFUNDED) for number in range(4))
    only_one = Named("built-in", {"limits": {"user": {"requests": 1}}})
    assert [(each.resource, each.used, each.full) for each in told(Page(refunded), only_one)] == [
        ("requests", 0, False),
        ("launches", 4, True),
    ]


def test_a_subject_without_a_limit_shows_the_last_day() -> None:
    team = Subject("Namespace", "team-a")
    assert told(Page((entry("a"),)), subject=team) == [Consumption(team, "requests", 1, DAY)]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "LONGER"), [("value", "x"), ("y", "z")]) == ["A       LONGER", "value   x", "y       z"]


def test_a_name_steers_no_terminal() -> None:
    assert plain("bob\x1b[31m\n\u202e né") == "bob\\x1b[31m\\n\\u202e né"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "shown"),
    [(Terminal(), "", "\033[31mbad\033[0m"), (Terminal(), "1", "bad"), (io.StringIO(), "", "bad")],
    ids=["terminal", "NO_COLOR", "pipe"],
)
def test_colour_is_for_terminals(
    stream: io.StringIO, no_color: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    assert painted("bad", RED, stream) == shown


def test_one_is_not_several() -> None:
    assert [counted(number, "entry", "entries") for number in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]


@pytest.mark.parametrize("arguments", [["ledger"], ["ledger", "burn"], ["ledger", "verify", "--yes"]], ids=str)
def test_wrong_usage_of_the_ledger_ends_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_variable_that_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPORT_OPERATOR_REQUESTS_PER_USER", "many")
    assert main(["ledger", "show"]) == 2
    assert "EXPORT_OPERATOR_REQUESTS_PER_USER" in capsys.readouterr().err
