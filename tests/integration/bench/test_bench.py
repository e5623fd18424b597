"""The whole benchmark at a small scale, so that it works when somebody needs it."""

import sys
from pathlib import Path

import pytest

from tests.bench import results
from tests.bench.clocks import PARTS
from tests.bench.contestants import BY_NAME
from tests.bench.floors import COPIES, HASHES
from tests.bench.profile import EXPORTS, WHAT
from tests.cluster import shell
from tests.cluster.paths import REPOSITORY

pytestmark = pytest.mark.integration

ROWS = 2_000
CONTESTANTS = {"psql-csv", "psql-binary", "bare-parquet-1", "shipped-ndjson"}


def test_the_benchmark_measures_validates_and_reports(tmp_path: Path) -> None:
    what = ["--suites", "users", "--only", ",".join(CONTESTANTS), "--without-peers"]
    how = ["--rows", str(ROWS), "--repeats", "1", "--load", "any", "--out", str(tmp_path)]
    shell.run([sys.executable, "-m", "tests.bench", *what, *how], cwd=REPOSITORY)
    found = results.read(tmp_path / "results.json").suites["users"]
    assert found.table.rows == ROWS
    assert {name: (measured.refused, len(measured.samples)) for name, measured in found.measured.items()} == {
        name: ("", BY_NAME[name].a_round) for name in CONTESTANTS
    }
    assert "| as shipped, NDJSON | ≤ 1.00 |" in (tmp_path / "results.md").read_text()


def test_the_parts_of_a_profile_are_all_that_the_client_spent() -> None:
    how = ["--rows", str(ROWS), "--repeats", "1"]
    said = shell.output([sys.executable, "-m", "tests.bench.profile", *how], cwd=REPOSITORY)
    lines = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("|")]
    titles = [WHAT[part] for part in PARTS]
    assert [line[0] for line in lines][2 : len(titles) + 3] == [*titles, "**the client**"]
    assert lines[0][1:] == [BY_NAME[name].title for name in EXPORTS]
    floors = [*COPIES, *HASHES]
    assert [line[0] for line in lines[-len(floors) :]] == floors
    *parts, whole = [[float(cell.split()[0]) for cell in line[1:]] for line in lines[2 : len(titles) + 3]]
    assert [sum(column) for column in zip(*parts, strict=True)] == pytest.approx(whole, rel=0.15)
