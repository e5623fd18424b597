"""Ranges of pages cover the table, each page once, in order."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.runspec import Relation, Source
from export_runner.source import parallel
from export_runner.source.table import Table

pytestmark = pytest.mark.unit

TABLE = Table(pages=100, page_bytes=8192)


def source(**given: object) -> Source:
    fields = {"name": "s", "dataset": "d", "host": "h", "database": "b", "columns": ("a",)}
    return Source(**{**fields, "relation": Relation(schema="public", table="t"), **given})  # type: ignore[arg-type]


@given(st.integers(0, 2**20), st.sampled_from([1024, 8192, 32768]), st.integers(1, 2**26))
def test_each_page_is_in_one_range_and_the_last_range_is_open(pages: int, page_bytes: int, block_bytes: int) -> None:
    firsts = parallel.ranges(Table(pages=pages, page_bytes=page_bytes), block_bytes)
    sizes = {after - before for before, after in itertools.pairwise(firsts)}
    assert firsts[0] == 0
    assert len(sizes) <= 1
    assert firsts[-1] <= max(0, pages - 1)
    assert all(0 < size * page_bytes <= max(page_bytes, parallel.RANGE_BLOCKS * block_bytes) for size in sizes)


def test_a_range_is_a_condition_on_row_addresses_beside_the_row_filter() -> None:
    filtered, firsts = source(row_filter="a > 1 OR b"), range(0, 100, 40)
    conditions = [
        parallel.within(filtered, firsts, number).as_string(None).partition(" WHERE ")[2]
        for number in range(len(firsts))
    ]
    assert conditions == [
        (
            "(a > 1 OR b\n) AND ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid"
            " AND ctid OPERATOR(pg_catalog.<) '(40,0)'::pg_catalog.tid"
        ),
        (
            "(a > 1 OR b\n) AND ctid OPERATOR(pg_catalog.>=) '(40,0)'::pg_catalog.tid"
            " AND ctid OPERATOR(pg_catalog.<) '(80,0)'::pg_catalog.tid"
        ),
        "(a > 1 OR b\n) AND ctid OPERATOR(pg_catalog.>=) '(80,0)'::pg_catalog.tid",
    ]


@pytest.mark.parametrize(
    ("given", "table", "scan", "key", "right"),
    [
        ({}, TABLE, "Seq Scan", (), ""),
        ({"relation": None, "query": "SELECT 1"}, None, "Result", (), "The dataset is a query"),
        ({"order_by": ("a",)}, TABLE, "Sort", (), "in an order"),
        ({}, TABLE, "Seq Scan", ("a",), "in an order"),
        ({}, None, "Append", (), "no plain table"),
        ({}, TABLE, "Index Only Scan", (), "page by page (Index Only Scan)"),
        ({}, TABLE, "", (), "page by page (unknown plan)"),
    ],
)
def test_only_a_plain_table_that_is_read_from_end_to_end_is_read_by_ranges(
    given: dict[str, object], table: Table | None, scan: str, key: tuple[str, ...], right: str
) -> None:
    said = parallel.unfit(source(**given), table, scan, key)
    assert right in said
    assert bool(said) == bool(right)
