"""Every row and every value arrives, as readers see it that share no code with the exporter."""

import gzip
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any, get_args

import duckdb
import psycopg
import pyarrow.parquet
import pytest
import zstandard
from psycopg import sql

from export_contract.runspec import Compression, Format, Limits, RunSpec
from export_runner.formats.base import USUAL_BLOCK
from export_runner.formats.parquet import COLUMN_BYTES
from tests.integration.exporter.conftest import USERS
from tests.integration.exporter.runner import Exporter
from tests.services.data import COLUMNS

pytestmark = pytest.mark.integration

COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)


def unpacked(exporter: Exporter, spec: RunSpec) -> bytes:
    data = exporter.read(spec.destination.key)
    if spec.output.format == "Parquet" or spec.output.compression == "None":
        return data
    if spec.output.compression == "Gzip":
        return gzip.decompress(data)
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        return reader.read()


def delivered(exporter: Exporter, output_format: Format, compression: Compression = "None") -> tuple[RunSpec, bytes]:
    spec = exporter.spec(output=(output_format, compression))
    done = exporter.run(spec)
    assert done.code == 0, done.said
    assert done.outcome.delivered is not None
    assert done.outcome.delivered.rows == USERS
    return spec, unpacked(exporter, spec)


def differences(connection: psycopg.Connection[Any], copy: str) -> int:
    """Rows of one table that the other has not, as often as it has them."""
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    compared = sql.SQL("SELECT {columns} FROM {table}")
    # jsonb, arrays and numerics compare by value; their text is compared, which says more.
    text = sql.SQL("SELECT row_to_json(compared)::text FROM ({}) AS compared")
    sides = [text.format(compared.format(columns=columns, table=sql.Identifier(name))) for name in ("users", copy)]
    # As many rows on both sides, and none of ours that the copy lacks: then they are the same.
    lacking = sql.SQL("SELECT count(*) FROM ({} EXCEPT ALL {}) AS lacking").format(*sides)
    counts = sql.SQL("SELECT (SELECT count(*) FROM users) - (SELECT count(*) FROM {})").format(sql.Identifier(copy))
    (rows,), (more,) = connection.execute(lacking).fetchall()[0], connection.execute(counts).fetchall()[0]
    return int(rows) + abs(int(more))


def test_csv_copied_back_into_postgresql_equals_the_table(exporter: Exporter) -> None:
    _, data = delivered(exporter, "CSV")
    with psycopg.connect(exporter.postgres.dsn) as connection:
        connection.execute("CREATE TEMPORARY TABLE copy (LIKE users)")
        with connection.cursor().copy("COPY copy FROM STDIN (FORMAT csv, HEADER match)") as copy:
            copy.write(data)
        assert differences(connection, "copy") == 0


def test_duckdb_reads_null_and_empty_strings_of_csv_apart(exporter: Exporter, tmp_path: Path) -> None:
    _, data = delivered(exporter, "CSV")
    file = tmp_path / "users.csv"
    file.write_bytes(data)
    with duckdb.connect() as database:
        seen = database.execute(
            "SELECT count(*), count(bio), count(*) FILTER (bio = '') FROM read_csv("
            f"'{file}', header = true, all_varchar = true, allow_quoted_nulls = false, new_line = '\\n')"
        ).fetchall()
    told = exporter.postgres.psql("SELECT count(*), count(bio), count(*) FILTER (WHERE bio = '') FROM users")
    assert seen == [tuple(map(int, told.split("|")))]


@pytest.mark.parametrize("output_format", ["CSV", "NDJSON", "JSON"])
def test_compressed_objects_unpack_to_the_same_bytes(exporter: Exporter, output_format: Format) -> None:
    seen = {hashlib.sha256(delivered(exporter, output_format, each)[1]).hexdigest() for each in COMPRESSIONS}
    assert len(seen) == 1


@pytest.mark.parametrize("output_format", ["NDJSON", "JSON"])
def test_json_read_back_by_postgresql_equals_the_table(exporter: Exporter, output_format: Format) -> None:
    _, data = delivered(exporter, output_format)
    if output_format == "JSON":
        assert data.startswith(b"[\n")
        assert data.endswith(b"\n]\n")
        lines = [line.removesuffix(b",") for line in data.splitlines()[1:-1]]
    else:
        lines = data.split(b"\n")[:-1]
    assert len(lines) == USERS
    assert len(json.loads(data)) == USERS if output_format == "JSON" else json.loads(lines[0])
    with psycopg.connect(exporter.postgres.dsn) as connection:
        connection.execute("CREATE TEMPORARY TABLE line (document json)")
        # A quote and a delimiter that JSON never holds bare: each line is one value as it stands.
        with connection.cursor().copy("COPY line FROM STDIN (FORMAT csv, DELIMITER e'\\x01', QUOTE e'\\x02')") as copy:
            copy.write(b"".join(line + b"\n" for line in lines))
        types = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'users'::regclass AND attnum > 0 ORDER BY attnum"
        ).fetchall()
        assert [name for name, _ in types] == list(COLUMNS)
        values = sql.SQL(", ").join(
            [
                sql.SQL("(document ->> {})::{} AS {}").format(sql.Literal(name), sql.SQL(kind), sql.Identifier(name))
                for name, kind in types
            ]
        )
        connection.execute(sql.SQL("CREATE TEMPORARY TABLE copy AS SELECT {} FROM line").format(values))
        assert differences(connection, "copy") == 0


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_parquet_equals_the_table_for_pyarrow_and_duckdb(
    exporter: Exporter, tmp_path: Path, compression: Compression
) -> None:
    _, data = delivered(exporter, "Parquet", compression)
    file = tmp_path / "users.parquet"
    file.write_bytes(data)
    table = pyarrow.parquet.read_table(file)
    counted = pyarrow.parquet.ParquetFile(file)
    assert counted.metadata.num_row_groups > 1
    with psycopg.connect(exporter.postgres.dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET synchronize_seqscans = off")  # else rows may come from where another scan has ended
        listed = ", ".join(f"{name}::text" if name in {"settings", "tags"} else name for name in COLUMNS)
        expected = connection.execute(f"SELECT {listed} FROM users").fetchall()
    seen = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert [normal(row) for row in seen] == [normal(row) for row in expected]
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        by_duckdb = database.sql(f"SELECT * FROM '{file}'").to_arrow_table()
    names = ["score"]
    assert by_duckdb.drop_columns(names).equals(table.drop_columns(names).cast(by_duckdb.drop_columns(names).schema))
    # As text, because NaN differs from itself.
    assert list(map(repr, by_duckdb["score"].to_pylist())) == list(map(repr, table["score"].to_pylist()))


def normal(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """NaN equals itself here."""
    return tuple("NaN" if isinstance(value, float) and math.isnan(value) else value for value in row)


def test_row_groups_of_a_wide_table_are_as_large_as_its_columns_want(exporter: Exporter) -> None:
    names = tuple(f"c{number}" for number in range(120))
    rows, row_bytes = 20_000, 2 + len(names) * (4 + 8)  # in COPY BINARY
    values = ", ".join(f"n + {at} AS {name}" for at, name in enumerate(names))
    query = f"SELECT {values} FROM generate_series(1::bigint, {rows}) AS n"
    limits = Limits(block_bytes=USUAL_BLOCK)
    spec = exporter.spec(names, table=None, query=query, output=("Parquet", "None"), limits=limits)
    assert exporter.run(spec).code == 0
    found = pyarrow.parquet.ParquetFile(io.BytesIO(exporter.read(spec.destination.key)))
    groups = [found.metadata.row_group(number).num_rows for number in range(found.num_row_groups)]
    whole = -(-len(names) * COLUMN_BYTES // row_bytes)
    assert groups == [whole, rows - whole]
    assert found.read().column("c119").to_pylist() == [number + 119 for number in range(1, rows + 1)]


@pytest.mark.parametrize("output_format", get_args(Format))
def test_the_manifest_proves_the_object(exporter: Exporter, output_format: Format) -> None:
    spec = exporter.spec(output=(output_format, "Zstd"))
    done = exporter.run(spec)
    data = exporter.read(spec.destination.key)
    manifest = exporter.manifest(spec)
    assert done.outcome.delivered is not None
    (stored,) = manifest.objects
    assert stored.sha256 == hashlib.sha256(data).hexdigest() == done.outcome.delivered.sha256
    assert stored.bytes == len(data) == done.outcome.delivered.bytes
    assert manifest.rows == USERS
    assert manifest.run == spec.run
    assert manifest.complete
    assert [column.name for column in manifest.columns] == list(COLUMNS)
    assert "numeric(14,2)" in [column.type for column in manifest.columns]
    assert exporter.keys(spec) == ["manifest.json", "users.out"]
    assert exporter.uploads(spec) == []


def test_the_same_rows_and_spec_make_the_same_bytes(exporter: Exporter) -> None:
    seen = {
        exporter.run(exporter.spec(output=("NDJSON", "Gzip")), **environment).outcome.delivered
        for environment in ({}, {"POLARS_MAX_THREADS": "1"})
    }
    assert len({each.sha256 for each in seen if each}) == 1
