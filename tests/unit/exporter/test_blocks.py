"""Blocks and parts follow from rows and spec alone, however the rows arrive."""

import hashlib
import itertools
import zlib
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.runspec import Format
from export_runner.formats.base import load
from export_runner.frames.blocks import PADDING, BlockCutter, Chunk
from export_runner.sinks.parts import DOUBLING, MAX_PARTS, MIN_PART, PartCutter, Whole, part_size
from tests.unit.exporter.copies import field

pytestmark = pytest.mark.unit

ROWS = st.lists(st.binary(min_size=1, max_size=40), max_size=60)


def chunks(rows: list[bytes], sizes: list[int]) -> list[Chunk]:
    """The rows in chunks of these sizes, over and over."""
    made: list[Any] = []
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(rows):
            return made
        taken = rows[at : at + size]
        made.append(Chunk(b"".join(taken), np.array([len(row) for row in taken], dtype=np.int64)))
        at += size
    return made


def by_definition(rows: list[bytes], most_rows: int, most_bytes: int) -> list[list[bytes]]:
    """The shortest runs that reach one of the bounds, row by row."""
    blocks: list[list[bytes]] = [[]]
    for row in rows:
        blocks[-1].append(row)
        if len(blocks[-1]) >= most_rows or sum(map(len, blocks[-1])) >= most_bytes:
            blocks.append([])
    return [block for block in blocks if block]


@given(
    rows=ROWS,
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    most_rows=st.integers(1, 12),
    most_bytes=st.integers(1, 150),
)
def test_blocks_are_those_of_the_definition_whatever_the_chunks(
    rows: list[bytes], sizes: list[int], most_rows: int, most_bytes: int
) -> None:
    cutter = BlockCutter(most_rows, most_bytes)
    blocks = [block for chunk in chunks(rows, sizes) for block in cutter.add(chunk)] + list(cutter.rest())
    expected = by_definition(rows, most_rows, most_bytes)
    assert [block.data for block in blocks] == [b"".join(block) + PADDING for block in expected]
    assert [block.lengths.tolist() for block in blocks] == [[len(row) for row in block] for block in expected]
    assert [block.first_row for block in blocks] == [
        sum(map(len, expected[:number])) for number in range(len(expected))
    ]


def test_a_block_holds_at_least_a_row() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        BlockCutter(0, 1)


@given(st.lists(st.integers(0, 4 * 1024 * 1024), max_size=12))
def test_parts_are_whole_blocks_and_reach_the_part_size_but_for_the_last(sizes: list[int]) -> None:
    cutter = PartCutter(MIN_PART)
    encoded = [bytes([number]) * size for number, size in enumerate(sizes)]
    parts = [part for block in encoded for part in cutter.add([block[:7], block[7:]])] + list(cutter.rest())
    whole = b"".join(encoded)
    assert b"".join(part.data for part in parts) == whole
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert all(part.size >= MIN_PART for part in parts[:-1])
    assert all(part.size < MIN_PART + 4 * 1024 * 1024 for part in parts)
    assert all(part.crc32 == zlib.crc32(part.data) for part in parts)
    assert cutter.whole() == Whole(len(whole), len(parts), hashlib.sha256(whole).hexdigest(), zlib.crc32(whole))


def test_an_object_without_bytes_is_one_empty_part() -> None:
    (part,) = PartCutter(MIN_PART).rest()
    assert (part.number, part.data, part.crc32) == (1, b"", 0)


def test_ten_thousand_parts_reach_more_than_five_tebibytes() -> None:
    assert part_size(1, 1) == MIN_PART
    assert part_size(DOUBLING, 8 << 20) == 8 << 20
    assert part_size(DOUBLING + 1, 8 << 20) == 16 << 20
    assert sum(part_size(number, 8 << 20) for number in range(1, MAX_PARTS + 1)) > 5 << 40


@pytest.mark.parametrize(("columns", "parquet"), [(1, 16), (120, 16), (256, 32)])
def test_where_no_size_is_asked_for_blocks_of_lines_are_smallest_and_those_of_parquet_largest(
    columns: int, parquet: int
) -> None:
    fields = [field(f"c{number}", "int4") for number in range(columns)]
    sizes = {name: load(name).block_bytes(0, fields) // (1024 * 1024) for name in get_args(Format)}
    assert sizes == {"CSV": 2, "NDJSON": 2, "JSON": 2, "ArrowStream": 4, "Parquet": parquet}


@pytest.mark.parametrize(("columns", "parquet"), [(1, 4), (32, 4), (120, 15), (256, 32), (1600, 32)])
def test_a_block_of_parquet_has_something_of_each_column_and_one_of_csv_what_was_asked_for(
    columns: int, parquet: int
) -> None:
    fields = [field(f"c{number}", "int4") for number in range(columns)]
    sizes = [load(name).block_bytes(4 * 1024 * 1024, fields) // (1024 * 1024) for name in ("Parquet", "CSV")]
    assert sizes == [parquet, 4]
    assert load("Parquet").block_bytes(64 * 1024 * 1024, fields) == 64 * 1024 * 1024
