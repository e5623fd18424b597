"""The whole benchmark at a small scale, so that it works when somebody needs it."""

import sys
from pathlib import Path

import pytest

from tests.bench import results
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
    assert {
        name: (measured.refused, len(measured.samples)) for name, measured in found.measured.items()
    } == dict.fromkeys(CONTESTANTS, ("", 1))
    assert "| as shipped, NDJSON | ≤ 1.00 |" in (tmp_path / "results.md").read_text()
