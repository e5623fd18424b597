"""What is delivered equals the table: read back by PostgreSQL, DuckDB and pyarrow, never by code of ours."""

import fnmatch
import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet
import pytest
import zstandard

from tests.e2e.conftest import World
from tests.e2e.furniture import PLENTY
from tests.e2e.team import Team, one_object
from tests.platform.database import Difference
from tests.services import data

pytestmark = pytest.mark.e2e

PEAK_BYTES = 256 * 1024 * 1024
SECONDS = 120.0


@dataclass(frozen=True)
class Form:
    """A form of the object, and how its name ends."""

    format: str
    compression: str
    suffix: str

    @property
    def name(self) -> str:
        return f"{self.format}-{self.compression}".lower()


FORMS = [
    Form("CSV", "None", ".csv"),
    Form("CSV", "Gzip", ".csv.gz"),
    Form("NDJSON", "Zstd", ".ndjson.zst"),
    Form("NDJSON", "None", ".ndjson"),
    Form("JSON", "None", ".json"),
    Form("JSON", "Gzip", ".json.gz"),
    Form("Parquet", "Zstd", ".parquet"),
    Form("Parquet", "None", ".parquet"),
]


@pytest.fixture(scope="module")
def asked(world: World) -> Iterator[Team]:
    """A hundred thousand users in every form, all asked for at once."""
    team = world.team(PLENTY, label="formats")
    for form in FORMS:
        team.ask(form.name, "users", output={"format": form.format, "compression": form.compression})
    yield team
    world.leave(team)


def unpacked(content: bytes, compression: str) -> bytes:
    """By other people's decompressors."""
    if compression == "Gzip":
        return gzip.decompress(content)
    if compression == "Zstd":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True) as reader:
            return bytes(reader.read())
    return content


def compare(world: World, form: Form, content: bytes) -> Difference:
    """By PostgreSQL: its own COPY for CSV, its own JSON, and pyarrow's values for Parquet."""
    if form.format == "Parquet":
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        assert table.column_names == list(data.COLUMNS)
        rows = (row for batch in table.to_batches() for row in zip(*(each.to_pylist() for each in batch), strict=True))
        return world.database.compare_rows(rows, "users", data.COLUMNS)
    plain = unpacked(content, form.compression)
    if form.format == "CSV":
        return world.database.compare_csv(plain, "users", data.COLUMNS)
    return world.database.compare_json(plain.decode(), "users", data.COLUMNS, array=form.format == "JSON")


READERS = {
    "CSV": "read_csv(?, header = true, all_varchar = true, allow_quoted_nulls = false, nullstr = '')",
    "JSON": "read_json(?, format = 'array')",
    "NDJSON": "read_json(?, format = 'newline_delimited')",
    "Parquet": "read_parquet(?)",
}
COUNTS = "count(*), count(bio), count(*) FILTER (WHERE bio = ''), count(last_login), count(DISTINCT email)"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_row_and_value_of_the_table_is_delivered_and_nothing_else(world: World, asked: Team, form: Form) -> None:
    result = asked.succeeded(form.name, SECONDS)
    assert result["uri"].endswith(f"/{form.name}{form.suffix}")
    content = world.storage.read(result["uri"])
    assert (len(content), hashlib.sha256(content).hexdigest()) == (result["bytes"], result["sha256"])
    assert result["rows"] == data.ROWS
    difference = compare(world, form, content)
    assert difference.none, difference
    assert difference.rows == data.ROWS
    one_object(world.storage, result)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_duckdb_opens_it_and_tells_null_from_the_empty_string(
    world: World, asked: Team, form: Form, tmp_path: Path
) -> None:
    file = tmp_path / f"{form.name}{form.suffix}"
    file.write_bytes(world.storage.read(asked.succeeded(form.name, SECONDS)["uri"]))
    expected = world.database.connection.execute(f"SELECT {COUNTS} FROM users").fetchone()
    with duckdb.connect() as reader:
        assert reader.execute(f"SELECT {COUNTS} FROM {READERS[form.format]}", [str(file)]).fetchone() == expected


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_pod_needs_no_more_than_256_mib(asked: Team, form: Form) -> None:
    assert 0 < asked.succeeded(form.name, SECONDS)["peakMemoryBytes"] <= PEAK_BYTES


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_manifest_tells_what_was_delivered(world: World, asked: Team, form: Form) -> None:
    result = asked.succeeded(form.name, SECONDS)
    manifest = json.loads(world.storage.read(result["manifestURI"]))
    (delivered,) = manifest["objects"]
    assert (manifest["rows"], delivered["bytes"], delivered["sha256"]) == (
        result["rows"],
        result["bytes"],
        result["sha256"],
    )
    assert [column["name"] for column in manifest["columns"]] == list(data.COLUMNS)
    types = {column["name"]: column["type"] for column in manifest["columns"]}
    assert types["balance"] == "numeric(14,2)"
    assert types["created_at"] == "timestamp with time zone"
    assert manifest["complete"] is True
    assert manifest["run"]["namespace"] == asked.namespace
    assert manifest["run"]["requester"] == asked.user
    assert manifest["snapshot"]
    assert manifest["snapshotTime"]


def test_part_objects_are_files_of_their_own_and_the_manifest_lists_them(world: World, team: Team) -> None:
    team.ask("parts", "users", output={"format": "Parquet", "layout": "PartObjects"})
    result = team.succeeded("parts", SECONDS)
    manifest = json.loads(world.storage.read(result["manifestURI"]))
    found = [f"s3://{each['bucket']}/{each['key']}" for each in manifest["objects"]]
    assert len(fnmatch.filter(found, result["uri"])) == len(found) == result["objects"]
    tables = [pyarrow.parquet.read_table(io.BytesIO(world.storage.read(uri))) for uri in found]
    assert [table.num_rows for table in tables] == [each["rows"] for each in manifest["objects"]]
    values = (table.to_pylist() for table in tables)
    rows = (tuple(row.values()) for each in values for row in each)
    assert world.database.compare_rows(rows, "users", data.COLUMNS).none


def test_equal_rows_give_equal_bytes(team: Team) -> None:
    for name in ("one", "two"):
        team.ask(name, "few")
    first, second = (team.succeeded(name) for name in ("one", "two"))
    assert first["sha256"] == second["sha256"]
    assert first["uri"] != second["uri"]


def test_columns_come_in_the_order_that_was_asked_for(world: World, team: Team) -> None:
    columns = ["created_at", "id", "bio"]
    team.ask("some", source={"name": "e2e-db", "dataset": "few", "columns": columns})
    content = world.storage.read(team.succeeded("some")["uri"])
    assert world.database.compare_csv(content, "few", columns).none


def test_parameters_choose_rows(world: World, team: Team) -> None:
    values = {"since": "2024-01-01T00:00:00+01:00", "country": "D'E", "most": "5000"}
    query = "SELECT id, email, country, created_at FROM users WHERE created_at >= '{since}' AND id <= {most}"
    columns = ["id", "email", "country", "created_at"]
    for name, country, rows in (
        ("german", "DE", " AND country = 'DE'"),
        ("all", "", ""),
        ("none", "D'E", " AND false"),
    ):
        team.ask(name, source={"name": "e2e-db", "dataset": "since", "parameters": {**values, "country": country}})
        content = world.storage.read(team.succeeded(name)["uri"])
        assert world.database.compare_csv(content, "users", columns, query.format(**values) + rows).none, name
