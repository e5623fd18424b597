"""What every format keeps to, whoever wrote it: `docs/guide/formats.md`."""

import contextlib
import gc
from collections.abc import Generator, Sequence
from typing import Any, cast, get_args

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from export_contract import outputs
from export_contract.failures import Failure
from export_contract.runspec import Compression, Limits, Output
from export_runner.errors import ExportError
from export_runner.formats.base import USUAL_BLOCK
from export_runner.formats.compression import compressor
from export_runner.frames import arrow
from export_runner.frames.blocks import Block, BlockCutter, Chunk
from export_runner.frames.decoder import decode, slices
from export_runner.frames.kinds import Field
from export_runner.objects import Encoder
from tests.integration.exporter import readers
from tests.integration.exporter.exporting import exported, recorded, through_pipeline
from tests.integration.exporter.formats.subjects import INSTALLED, READERS, SUBJECTS, Subject
from tests.services.host import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: each.name)]

TABLE = sql.Identifier("suite", "rows")
COLUMNS = ("n", "t", "b", "i", "d", "f", "y", "m", "u", "a", "s")
SETUP = r"""
DROP SCHEMA IF EXISTS suite CASCADE; CREATE SCHEMA suite;
CREATE TABLE suite.rows (n serial, t text, b boolean, i bigint, d numeric(12,3), f double precision, y bytea,
  m timestamptz, u uuid, a text[], s char(4));
INSERT INTO suite.rows (t, b, i, d, f, y, m, u, a, s) SELECT
  (ARRAY['', 'plain', E'tab\t', E'l\nf', E'c\r\nl', 'q"q', 'back\slash', '\N', NULL, 'é😀 שלום',
    repeat('long ', 50)])[1 + n % 11],
  n % 3 = 0, n::bigint << (n % 62), n / 7.0, (ARRAY[n / 3.0, 'NaN', '-Infinity', NULL])[1 + n % 4],
  decode(lpad(to_hex(n), 4, '0'), 'hex'), timestamptz '2026-01-01 UTC' + n * interval '1.000001 s', md5(n::text)::uuid,
  ARRAY[n::text, NULL, '"'], n::text FROM generate_series(1, 60) AS n;
INSERT INTO suite.rows DEFAULT VALUES;
"""
QUERY = "SELECT * FROM suite.rows ORDER BY n"
SMALL = Limits(block_rows=7, block_bytes=USUAL_BLOCK)


class Replayed:
    """Rows that were read once, in other chunks."""

    ended = True

    def __init__(self, fields: tuple[Field, ...], chunks: Sequence[Chunk]) -> None:
        self.fields = fields
        self._chunks = chunks

    def chunks(self) -> Generator[Chunk]:
        yield from self._chunks


@pytest.fixture(scope="module")
def suite(postgres: PostgresServer) -> PostgresServer:
    postgres.psql(SETUP)
    return postgres


@pytest.fixture(scope="module")
def read(suite: PostgresServer) -> tuple[tuple[Field, ...], list[Chunk]]:
    """The table's columns and rows, as COPY BINARY sends them."""
    return recorded(suite, COLUMNS, QUERY)


def encoder(subject: Subject, fields: Sequence[Field]) -> Encoder:
    return Encoder(subject.format(fields, Output()), compressor("None", inside=True))


def cut(chunks: Sequence[Chunk], block_rows: int = 7) -> list[Block]:
    cutter = BlockCutter(block_rows, 1024 * 1024)
    return [*(block for chunk in chunks for block in cutter.add(chunk)), *cutter.rest()]


def rechunked(chunks: Sequence[Chunk], sizes: list[int]) -> list[Chunk]:
    """The same rows, so many at a time, over and over."""
    data, lengths = b"".join(each.data for each in chunks), np.concatenate([each.lengths for each in chunks])
    made: list[Chunk] = []
    ends, row = np.cumsum(lengths), 0
    while row < len(lengths):
        stop = min(row + sizes[len(made) % len(sizes)], len(lengths))
        made.append(Chunk(data[int(ends[row - 1]) if row else 0 : int(ends[stop - 1])], lengths[row:stop]))
        row = stop
    return made


def test_it_has_a_reader_and_a_media_type(subject: Subject) -> None:
    assert set(INSTALLED) == set(READERS)
    assert subject.format.media_type(Output()).count("/") == 1
    assert subject.format.resumes in {"Blocks", "Objects"}


def forms(subject: Subject) -> list[Output]:
    """Every compression that the format has. A plug-in's name is unknown to the contract, and does not matter here."""
    name = cast("Any", subject.name if subject.name in READERS else "CSV")
    made = [Output(format=name, compression=each) for each in get_args(Compression)]
    return [output for output in made if outputs.problem(output) is None]


def test_a_reader_sees_every_value_to_the_byte(suite: PostgresServer, subject: Subject) -> None:
    for output in forms(subject):
        made = exported(suite, COLUMNS, QUERY, output, limits=SMALL, chosen=subject.format)
        with psycopg.connect(suite.dsn) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            seen = subject.read(made.data, suite)
            assert readers.differing(connection, TABLE, seen, COLUMNS, "n") == [], output.compression
        assert (made.rows, made.nulled) == (61, {})


def test_no_rows_make_a_file_that_readers_take(suite: PostgresServer, subject: Subject) -> None:
    made = exported(suite, COLUMNS, "SELECT * FROM suite.rows WHERE false", Output(), chosen=subject.format)
    assert (subject.read(made.data, suite), made.rows) == ([], 0)


def test_columns_of_one_name_stay_two_or_are_refused_before_the_first_row(
    suite: PostgresServer, subject: Subject
) -> None:
    columns, query = ("x", "x"), "SELECT 1 AS x"
    with contextlib.suppress(ExportError):
        made = exported(suite, columns, query, Output(), chosen=subject.format)
        assert subject.read(made.data, suite) == [("1", "1")]
        return
    with pytest.raises(ExportError, match="'x'") as caught:
        exported(suite, columns, query, Output(), chosen=subject.format)
    assert caught.value.failure is Failure.VALUE_NOT_REPRESENTABLE


@settings(derandomize=True, max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_its_bytes_do_not_depend_on_the_chunks_in_which_rows_arrive(
    subject: Subject, read: tuple[tuple[Field, ...], list[Chunk]], sizes: list[int]
) -> None:
    fields, chunks = read
    whole, split = (
        through_pipeline(Replayed(fields, each), encoder(subject, fields), SMALL)[0]
        for each in (chunks, rechunked(chunks, sizes))
    )
    assert whole == split


def test_its_bytes_do_not_depend_on_how_blocks_are_sliced(
    subject: Subject, read: tuple[tuple[Field, ...], list[Chunk]]
) -> None:
    fields, chunks = read
    whole, sliced = (subject.format(fields, Output()) for _ in range(2))
    for block in cut(chunks):
        parts = [decode(block, fields)] if subject.format.whole_blocks else slices(block, fields, 200)
        assert b"".join(map(sliced.block, parts)) == whole.block(decode(block, fields))


def test_one_that_resumes_at_blocks_goes_on_behind_any_block(
    subject: Subject, read: tuple[tuple[Field, ...], list[Chunk]]
) -> None:
    fields, chunks = read
    blocks = [decode(block, fields) for block in cut(chunks)]
    whole = subject.format(fields, Output())
    pieces = [whole.header() + whole.block(blocks[0]), *map(whole.block, blocks[1:]), whole.footer()]
    for done in range(1, len(blocks) if subject.format.resumes == "Blocks" else 1):
        resumed = subject.format(fields, Output())  # the header is another process's
        assert [*map(resumed.block, blocks[done:]), resumed.footer()] == pieces[done:]


def test_it_gives_back_the_memory_of_every_block(subject: Subject, read: tuple[tuple[Field, ...], list[Chunk]]) -> None:
    fields, chunks = read
    gc.collect()
    before = arrow.live_arrays()
    made = subject.format(fields, Output())
    for block in cut(chunks):
        made.block(decode(block, fields))
    gc.collect()
    assert arrow.live_arrays() == before
