"""Every type arrives exactly, or as PostgreSQL's own text, as `docs/reference/types.md` says, line by line."""

import io
import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet
import pytest
from psycopg import sql

from export_contract.runspec import Format, Limits, Output
from tests.integration.exporter import readers
from tests.integration.exporter.exporting import Exported, exported
from tests.integration.exporter.samples import HELD_BY_NO_TYPE, SAMPLES, SETUP
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reference" / "types.md"
TABLE = sql.Identifier("odd", "types")
NAMES = {kind: f"c{number}" for number, kind in enumerate(SAMPLES)}
COLUMNS = ("n", *NAMES.values())
BLOCKS_OF_THREE = Limits(block_rows=3)
"""What else a block holds must not change what a value becomes."""


def documented() -> dict[str, list[str]]:
    """The lines of the first table: the type, and what stands in the cells behind it."""
    lines = [
        re.findall(r"`` (.*?) ``|`(.*?)`", line)
        for line in DOCUMENT.read_text(encoding="utf-8").partition("\n## ")[0].splitlines()
        if line.startswith("| `")
    ]
    cells = [[spaced or plain for spaced, plain in line] for line in lines]
    assert all(len(line) == 6 for line in cells)
    return {line[0]: line[1:] for line in cells}


LINES = documented()


@pytest.fixture(scope="module")
def odd(postgres: PostgresServer) -> PostgresServer:
    """A column of each type, as many rows as the type with the most values has, and one of NULLs at the end."""
    columns = ", ".join(f'"{name}" {kind}' for kind, name in NAMES.items())
    postgres.psql(f"{SETUP} CREATE TABLE odd.types (n serial, {columns})")
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        for row in range(max(map(len, SAMPLES.values())) + 1):
            values = [texts[row] if row < len(texts) else None for texts in SAMPLES.values()]
            with connection.cursor().copy(f"COPY odd.types ({', '.join(NAMES.values())}) FROM STDIN") as copy:
                copy.write_row(values)
    return postgres


def whole(odd: PostgresServer, output_format: Format, **options: Any) -> Exported:
    query = "SELECT * FROM odd.types ORDER BY n"
    return exported(odd, COLUMNS, query, Output(format=output_format, **options), limits=BLOCKS_OF_THREE)


def differing(odd: PostgresServer, rows: readers.Rows) -> dict[str, int]:
    """By type."""
    with psycopg.connect(odd.dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET lc_monetary = 'C'")
        found = dict(readers.differing(connection, TABLE, rows, COLUMNS, "n"))
    return {kind: found[name] for kind, name in NAMES.items() if name in found}


def test_the_document_has_a_line_for_every_type_that_is_tested_and_no_other() -> None:
    assert list(LINES) == list(SAMPLES)


def test_csv_copied_back_by_postgresql_is_the_same_to_the_byte(odd: PostgresServer) -> None:
    made = whole(odd, "CSV")
    with psycopg.connect(odd.dsn) as connection:
        connection.execute("SET lc_monetary = 'C'")
        connection.execute("CREATE TEMPORARY TABLE copy (LIKE odd.types)")
        with connection.cursor().copy("COPY copy FROM STDIN (FORMAT csv, HEADER match)") as copy:
            copy.write(made.data)
        assert readers.compared(connection, TABLE, COLUMNS, "n") == []


def test_csv_read_by_duckdb_is_the_same_to_the_byte(odd: PostgresServer) -> None:
    assert differing(odd, readers.csv(whole(odd, "CSV").data)) == {}


@pytest.mark.parametrize("output_format", ["NDJSON", "JSON"])
def test_json_is_the_same_to_the_byte_but_for_null_and_line_breaks_in_json(
    odd: PostgresServer, output_format: Format
) -> None:
    raw = {number for number, kind in enumerate(("n", *SAMPLES)) if kind in {"json", "jsonb"}}
    rows = [
        tuple(readers.value_of_json(value, raw=number in raw) for number, value in enumerate(row))
        for row in readers.json_rows(whole(odd, output_format).data, odd)
    ]
    # json `null` reads as NULL; in json a line break between tokens is a blank.
    assert differing(odd, rows) == {"json": 3, "jsonb": 1}
    kept = [row[1 + list(SAMPLES).index("json")] for row in rows]
    assert kept[: len(SAMPLES["json"])] == [
        None if text == "null" else text.replace("\n", " ").replace("\r", " ") for text in SAMPLES["json"]
    ]


@pytest.mark.parametrize("output_format", ["Parquet", "ArrowStream"])
def test_typed_formats_are_the_same_to_the_byte_when_columns_may_become_text(
    odd: PostgresServer, output_format: Format
) -> None:
    made = whole(odd, output_format, on_unrepresentable="ColumnAsText", compression="Zstd")
    assert made.nulled == {}
    for read in (readers.table, readers.other_table):
        assert differing(odd, readers.typed(read(output_format, made.data))) == {}, read


@pytest.mark.parametrize("output_format", ["Parquet", "ArrowStream"])
def test_typed_formats_lose_only_what_has_no_place_in_them_and_count_it(
    odd: PostgresServer, output_format: Format
) -> None:
    made = whole(odd, output_format, on_unrepresentable="Null")
    lost = {kind: len(values) for kind, values in HELD_BY_NO_TYPE.items()}
    assert made.nulled == {NAMES[kind]: count for kind, count in lost.items()}
    assert differing(odd, readers.typed(readers.table(output_format, made.data))) == dict(
        sorted(lost.items(), key=lambda pair: list(SAMPLES).index(pair[0]))
    )


@pytest.fixture(scope="module")
def shown(odd: PostgresServer) -> dict[str, list[str]]:
    """What each format makes of the document's examples, by type."""
    return examples(odd)


def examples(postgres: PostgresServer) -> dict[str, list[str]]:
    cells = [f"{sql.Literal(line[0]).as_string(None)}::{kind} AS {NAMES[kind]}" for kind, line in LINES.items()]
    query, columns = f"SELECT {', '.join(cells)}", tuple(NAMES[kind] for kind in LINES)
    csv, ndjson, parquet, arrow = (
        exported(postgres, columns, query, Output(format=name)).data
        for name in ("CSV", "NDJSON", "Parquet", "ArrowStream")
    )
    schema = pyarrow.parquet.ParquetFile(io.BytesIO(parquet)).schema
    seen = (
        re.findall(r'"(?:[^"]|"")*"|[^,\n"]+', csv.split(b"\n", 1)[1].decode()),
        readers.json_rows(ndjson, postgres)[0],
        [logical(schema.column(number)) for number in range(len(columns))],
        list(map(str, readers.table("ArrowStream", arrow).schema.types)),
    )
    return {kind: [str(each) for each in line] for kind, line in zip(LINES, zip(*seen, strict=True), strict=True)}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_of_the_document_is_true(shown: dict[str, list[str]], kind: str) -> None:
    assert shown[kind] == LINES[kind][1:]


def logical(column: Any) -> str:
    """A Parquet type in one word, with what it needs to be understood."""
    told = json.loads(column.logical_type.to_json())
    name = str(told["Type"]).upper()
    if name == "NONE":
        return str(column.physical_type)
    if name == "DECIMAL":
        return f"DECIMAL({told['precision']}, {told['scale']})"
    if name == "INT":
        return f"{'' if told['isSigned'] else 'U'}INT{told['bitWidth']}"
    if name == "TIMESTAMP":
        return "TIMESTAMP(µs, UTC)" if told["isAdjustedToUTC"] else "TIMESTAMP(µs)"
    return name
