"""What is loaded before the first row is there, and what only then: `python -m tests.bench.profile`, *start*."""

import subprocess
import sys
from typing import get_args

import pytest

from export_contract.runspec import Format

pytestmark = pytest.mark.unit

HEAVY = """
import sys
import export_runner.start, export_runner.__main__, export_runner.objects, export_runner.pipeline
import export_runner.sinks.layouts, export_runner.source.copying, export_runner.source.estimate
from export_contract.runspec import Output
from export_runner.formats.base import load
made = load(sys.argv[1])
made(made.reads((), Output(format=sys.argv[1])), Output(format=sys.argv[1]))
def heavy(): return [name for name in ("numpy", "polars") if name in sys.modules]
print("then", heavy())
made.prepare()
print("prepared", heavy())
"""


def loaded(name: str) -> str:
    done = subprocess.run([sys.executable, "-c", HEAVY, name], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", get_args(Format))
def test_rows_can_be_asked_for_before_numpy_and_polars_are_loaded(name: str) -> None:
    assert loaded(name).splitlines()[0] == "then []"


@pytest.mark.parametrize("name", ["Parquet", "ArrowStream"])
def test_typed_formats_load_polars_when_they_prepare(name: str) -> None:
    assert loaded(name).splitlines()[1] == "prepared ['numpy', 'polars']"
