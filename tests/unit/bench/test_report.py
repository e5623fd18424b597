"""Spread, goals and report follow from the samples alone."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from tests.bench import machine, markdown, results, spread, suites
from tests.bench.contestants import CONTESTANTS, chosen
from tests.bench.goals import Goal, goals
from tests.bench.results import Measured, Results, SuiteResults, TableFacts
from tests.bench.spread import Sample, Spread

pytestmark = pytest.mark.unit

MIB = 1024 * 1024
QUIET = Sample(
    wall=10, client=5, server=9, s3=0, foreign=0.1, peak_memory=150 * MIB, output_bytes=7, first_row=0.5
)  # fmt: skip


def sample(wall: float, *, memory: int = 150) -> Sample:
    return dataclasses.replace(QUIET, wall=wall, peak_memory=memory * MIB)


def found(**measured: Measured) -> Results:
    """Results of the main suite; names with `_` for `-`."""
    table = TableFacts("users", 5_000_000, 1)
    named = {name.replace("_", "-"): each for name, each in measured.items()}
    software = machine.Machine("a processor", 2, 2**30, "6.1", "3.11", "abc", "15", {"polars": "2"}, {"duckdb": "1"})
    suite = SuiteResults("Users", table, pinned=False, measured=named)
    return Results(
        machine=software, settings={}, began="now", ended="then", scale=5_000_000, repeats=2, seed=1,
        file_system="disk", load_allowed=False, suites={"users": suite}, missing={}, s3="server --quick",
    )  # fmt: skip


def goal(given: Results, title: str) -> Goal:
    return next(each for each in goals(given) if each.title == title)


def test_spread_tells_median_ends_and_quartiles() -> None:
    assert spread.spread([5, 1, 2, 4, 3]) == Spread(median=3, least=1, most=5, quartiles=2, count=5)


def test_one_value_has_no_spread() -> None:
    assert spread.spread([3]) == Spread(3, 3, 3, 0, 1)


def test_ratios_are_of_medians_and_their_spread_is_by_round() -> None:
    ours, theirs = [sample(6), sample(8), sample(32)], [sample(8), sample(8), sample(16)]
    assert spread.ratio(ours, theirs, lambda each: each.wall) == 1
    assert spread.paired(ours, theirs) == Spread(1, 0.75, 2, 0.625, 3)


def test_a_round_with_several_runs_is_told_by_their_median() -> None:
    ours = [sample(wall) for wall in (7, 11, 10, 6)]
    theirs = [sample(wall) for wall in (8, 9, 20, 30, 15, 16)]
    assert spread.paired(ours, theirs, a_round=(2, 3)) == Spread(0.75, 0.5, 1, 0.25, 2)


@pytest.mark.parametrize(("foreign", "void"), [(0.9, False), (1.1, True)])
def test_a_run_beside_more_foreign_load_than_allowed_is_void(foreign: float, void: bool) -> None:
    assert dataclasses.replace(QUIET, foreign=foreign).is_void(processors=2, allowed=0.05) is void


def test_a_goal_is_met_at_its_bound() -> None:
    given = found(psql_csv=Measured([sample(10)]), bare_csv_1=Measured([sample(7)]))
    assert goal(given, "bare CSV").met is True


def test_a_goal_beyond_its_bound_is_missed() -> None:
    given = found(psql_csv=Measured([sample(10)]), bare_csv_1=Measured([sample(7.1)]))
    assert goal(given, "bare CSV").met is False


def test_an_output_that_is_not_the_table_meets_no_goal_and_the_report_says_why() -> None:
    given = found(psql_csv=Measured([sample(10)]), bare_csv_1=Measured([sample(1)], refused="other values in bio"))
    seen = goal(given, "bare CSV")
    assert (seen.met, seen.note) == (None, "bare CSV: other values in bio")
    assert "- bare CSV does not count: other values in bio" in markdown.render(given)


def test_a_goal_of_being_faster_is_missed_by_a_smaller_factor() -> None:
    given = found(bare_csv_1=Measured([sample(10)]), cursor_csv=Measured([sample(79)]))
    assert goal(given, "cursor and csv module ÷ bare CSV").met is False


@pytest.mark.parametrize(("seen", "figure"), [(True, 1.04), (False, None)])
def test_the_cost_of_checkpoints_is_told_only_where_one_was_seen(seen: bool, figure: float | None) -> None:
    with_them = dataclasses.replace(sample(10.4), checkpointed=seen)
    given = found(checkpoint_csv=Measured([with_them]), ordered_csv=Measured([sample(10)]))
    assert goal(given, "by key with checkpoints ÷ by key without").figure == figure


def test_peak_memory_is_judged_by_the_worst_run() -> None:
    given = found(bare_csv_1=Measured([sample(1, memory=100), sample(1, memory=201)]))
    memory = [each for each in goals(given) if each.group == "Peak memory" and each.title == "bare CSV"]
    assert [(each.figure, each.met) for each in memory] == [(201, False)]


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    given = found(psql_csv=Measured([sample(10)], [sample(20)], "because"))
    file = tmp_path / "results.json"
    file.write_text(given.to_json())
    assert results.read(file) == given


def test_the_table_of_a_suite_has_the_floor_as_a_ratio_to_psql() -> None:
    ours = dataclasses.replace(QUIET, wall=9, client=6, server=7, s3=1)
    text = markdown.render(found(psql_csv=Measured([sample(10)]), shipped_csv=Measured([ours])))
    assert "| as shipped, CSV | **9.00** | 9.00–9.00 | 0.00 | 0.90 | 6.00 | 1.20 | 7.00 | 1.00 | 0.70 |" in text


@pytest.mark.parametrize(
    ("pinned", "server", "floor"),
    [(False, 7, 0.7), (False, 9, 0.9), (True, 6, 0.7)],
    ids=["every processor busy", "one backend is one process", "pinned: the busier side"],
)
def test_the_floor_is_what_the_work_takes_however_it_is_spread(pinned: bool, server: float, floor: float) -> None:
    ours = dataclasses.replace(QUIET, wall=9, client=6, server=server, s3=1)
    given = found(psql_csv=Measured([sample(10)]), bare_csv_1=Measured([ours]))
    given.suites["users"].pinned = pinned
    assert goal(given, "bare CSV").floor == floor


def test_two_connections_have_two_backends() -> None:
    ours = dataclasses.replace(QUIET, wall=9, client=2, server=9, s3=0)
    given = found(psql_csv=Measured([sample(10)]), bare_csv_2=Measured([ours]))
    assert goal(given, "bare CSV, 2 connections").floor == 0.55


@pytest.mark.parametrize(("wall", "server", "beyond"), [(9, 8, True), (9, 7, False), (6, 8, False)])
def test_a_goal_is_beyond_reach_where_it_is_missed_and_its_floor_would_miss_it(
    wall: float, server: float, beyond: bool
) -> None:
    ours = dataclasses.replace(QUIET, wall=wall, client=1, server=server)
    given = found(psql_csv=Measured([sample(10)]), bare_csv_1=Measured([ours]))
    assert goal(given, "bare CSV").beyond_reach is beyond


def test_a_factor_has_its_floor_above_it() -> None:
    given = found(bare_csv_1=Measured([sample(10)]), cursor_csv=Measured([sample(63)]))
    seen = goal(given, "cursor and csv module ÷ bare CSV")
    assert (seen.floor, seen.beyond_reach) == (7, True)


def test_the_report_counts_goals_that_are_beyond_the_floor() -> None:
    ours = dataclasses.replace(QUIET, wall=9, client=1, server=8)
    text = markdown.render(found(psql_csv=Measured([sample(10)]), bare_csv_1=Measured([ours])))
    assert "| bare CSV | ≤ 0.70 | **0.90** | ❌ no | 0.80, beyond the goal | 0.90 to 0.90 over 1 rounds |" in text
    assert " 1 not (of 1 the floor is beyond the goal), " in text


def test_the_report_tells_where_the_exporter_spends_its_time() -> None:
    ours = [dataclasses.replace(QUIET, steps={"read": read, "encode": 2.0}) for read in (1.0, 3.0, 9.0)]
    text = markdown.render(found(bare_csv_1=Measured(ours)))
    assert "|  | first row | read | encode |\n| --- | --- | --- | --- |\n| bare CSV | 0.50 | 3.00 | 2.00 |" in text


def test_figures_of_a_loaded_machine_are_marked() -> None:
    assert "these figures say little" in markdown.render(dataclasses.replace(found(), load_allowed=True))


def test_each_round_has_every_contestant_as_often_as_it_is_to_be_in_an_order_of_its_own() -> None:
    rounds = list(suites.rounds(CONTESTANTS, 3, seed=7))
    asked = {each.name: each.a_round for each in CONTESTANTS}
    assert all(Counter(each.name for each in found) == asked for found in rounds)
    assert rounds[0] != rounds[1]
    assert rounds == list(suites.rounds(CONTESTANTS, 3, seed=7))


def test_the_reference_is_always_measured() -> None:
    assert [each.name for each in chosen(["bare-csv-*"], suites.SUITES[0].names)] == [
        "psql-csv",
        "bare-csv-1",
        "bare-csv-2",
    ]


def test_suites_name_contestants_that_there_are() -> None:
    assert {name for suite in suites.SUITES for name in suite.names} == {each.name for each in CONTESTANTS}


def test_the_exporter_is_measured_with_the_settings_of_its_image() -> None:
    assert {"MALLOC_ARENA_MAX", "POLARS_MAX_THREADS"} <= machine.exporter_environment().keys()
