"""One peer copies one table to a file: `python copy_table.py LIBRARY FORMAT THREADS TABLE COLUMNS OUT`.

Each is written as its own documentation does it, with what its library offers for speed and memory. COLUMNS is the
select list, in which types that the library or the format has no place for are cast to text. The server is named by
libpq's variables, so that no password is in a command line.
"""

import csv
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

CHUNK_ROWS = 1000


def duckdb(output_format: str, threads: int, query: str, table: str, out: Path) -> None:
    """DuckDB attaches the database and writes the file itself."""
    import duckdb as library

    package = find_spec("duckdb_extension_postgres_scanner")
    assert package is not None
    assert package.submodule_search_locations is not None
    (extension,) = Path(package.submodule_search_locations[0]).glob("extensions/*/*.duckdb_extension")
    with library.connect(config={"threads": threads}) as database:
        database.execute(f"LOAD '{extension}'")
        database.execute("ATTACH '' AS source (TYPE postgres, READ_ONLY)")
        database.execute("SET TimeZone = 'UTC'")
        form = "JSON" if output_format == "NDJSON" else output_format
        options = ", HEADER" if form == "CSV" else ", COMPRESSION uncompressed"
        # Not by its own query function: the scan of a table is what it reads in parallel.
        columns = query.removeprefix("SELECT ").rpartition(" FROM ")[0]
        database.execute(f"COPY (SELECT {columns} FROM source.{table}) TO '{out}' (FORMAT {form}{options})")


def adbc(output_format: str, query: str, out: Path) -> None:
    """Arrow batches from ADBC, written by polars: one by one as CSV, whole as Parquet."""
    import polars as pl
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(_address()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        batches = cursor.fetch_record_batch()
        if output_format == "Parquet":
            pl.DataFrame(batches).write_parquet(out, compression="uncompressed")
            return
        with out.open("wb") as file:
            for number, batch in enumerate(batches):
                pl.DataFrame(batch).write_csv(file, include_header=number == 0)


def connectorx(output_format: str, query: str, out: Path) -> None:
    """One frame of polars."""
    import connectorx as library

    frame = library.read_sql(_address(), query, return_type="polars")
    if output_format == "Parquet":
        frame.write_parquet(out, compression="uncompressed")
    else:
        frame.write_csv(out)


def cursor_and_csv(query: str, out: Path) -> None:
    """A server-side cursor and the csv module, a thousand rows at a time: the pattern that an exporter replaces."""
    import psycopg
    from psycopg.types.string import TextLoader

    with psycopg.connect("") as connection, out.open("w", newline="", encoding="utf-8") as file:
        connection.adapters.register_loader("jsonb", TextLoader)  # a dict would be written as Python shows it
        with connection.cursor(name="export") as cursor:
            cursor.execute(query)
            writer = csv.writer(file, lineterminator="\n")
            rows = cursor.fetchmany(CHUNK_ROWS)
            assert cursor.description is not None
            writer.writerow([column.name for column in cursor.description])
            while rows:
                writer.writerows(rows)
                rows = cursor.fetchmany(CHUNK_ROWS)


def _address() -> str:
    user, password = os.environ["PGUSER"], quote(os.environ["PGPASSWORD"], safe="")
    return f"postgresql://{user}:{password}@{os.environ['PGHOST']}:{os.environ['PGPORT']}/{os.environ['PGDATABASE']}"


def main(arguments: list[str]) -> None:
    library, output_format, threads, table, columns, out = arguments
    query = f"SELECT {columns} FROM {table}"
    if library == "duckdb":
        duckdb(output_format, int(threads), query, table, Path(out))
    elif library == "adbc":
        adbc(output_format, query, Path(out))
    elif library == "connectorx":
        connectorx(output_format, query, Path(out))
    else:
        cursor_and_csv(query, Path(out))


if __name__ == "__main__":
    main(sys.argv[1:])
