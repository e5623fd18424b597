"""What a Parquet file of many row groups keeps in memory until its footer is written."""

import gc
import struct
import tracemalloc

import pytest

from export_contract.runspec import Output
from export_runner.formats.base import load
from tests.unit.exporter.copies import block, field

pytestmark = pytest.mark.unit

COLUMNS = 20
BLOCKS = 40


def test_a_row_group_leaves_no_more_in_memory_than_its_entry_in_the_footer() -> None:
    fields = [field(f"column_{number}", "int8") for number in range(COLUMNS)]
    made = load("Parquet")(fields, Output(format="Parquet"))

    def take(blocks: int) -> int:
        for number in range(blocks):
            assert made.compiled(block([[struct.pack("!q", 1000 * number + row)] * COLUMNS for row in range(50)]))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = take(BLOCKS)
        kept = take(BLOCKS) - before
    finally:
        tracemalloc.stop()
    assert kept < 2 * len(made.footer()), "the footer has the entries of both halves"
