"""A Parquet file of many row groups."""

import gc
import io
import struct
import tracemalloc
from unittest.mock import patch

import polars as pl
import pytest

from export_contract.runspec import Output
from export_runner.formats import parquet
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


def test_row_groups_beyond_those_that_have_an_ordinal_are_read_all_the_same() -> None:
    made = load("Parquet")([field("a", "int8")], Output(format="Parquet"))
    with patch.object(parquet, "_MAX_ORDINAL", 1):
        groups = [made.compiled(block([[struct.pack("!q", number)]])) or [] for number in range(4)]
    file = b"".join([made.header(), *(piece for group in groups for piece in group), made.footer()])
    assert pl.read_parquet(io.BytesIO(file))["a"].to_list() == [0, 1, 2, 3]
