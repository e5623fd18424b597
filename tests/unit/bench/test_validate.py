"""What a contestant wrote is compared value by value, however it writes them."""

from pathlib import Path

import duckdb
import pytest

from tests.bench import validate
from tests.bench.contestants import BY_NAME
from tests.bench.validate import Digest, Invalid, digest

pytestmark = pytest.mark.unit

TYPES = {
    "id": "bigint",
    "name": "text",
    "active": "boolean",
    "balance": "numeric(14,2)",
    "settings": "jsonb",
    "tags": "text[]",
    "seen": "timestamp with time zone",
}
HEADER = ",".join(TYPES) + "\n"
PSQL = (
    '1,"a ""b"",\nc",t,1.50,"{""k"": [1, null]}","{a,NULL,""x y"",""NULL""}",2024-02-29 23:59:59.5+00\n'
    '2,"",f,,{},{},2024-03-01 00:00:00+00\n'
    "3,,,-7.00,,,\n"
)


def seen(tmp_path: Path, who: str, text: str, *, tells_null: bool = True) -> Digest:
    file = tmp_path / "out"
    file.write_bytes(text.encode())
    return digest(file, BY_NAME[who], TYPES, tells_null=tells_null)


@pytest.fixture
def reference(tmp_path: Path) -> Digest:
    return seen(tmp_path, "psql-csv", HEADER + PSQL)


def test_rows_in_another_order_are_the_same(tmp_path: Path, reference: Digest) -> None:
    first, _, rest = PSQL.partition("+00\n")
    assert seen(tmp_path, "duckdb-csv-1", HEADER + rest.replace("{},{}", "{},[]") + first.replace(
        '"{a,NULL,""x y"",""NULL""}"', '"[a, NULL, \'x y\', \'NULL\']"') + "+00\n") == reference  # fmt: skip


def test_values_written_another_way_are_the_same(tmp_path: Path, reference: Digest) -> None:
    other = PSQL.replace(",t,1.50", ",true,1.5000").replace("23:59:59.5+00", "23:59:59.500000+00:00")
    assert seen(tmp_path, "bare-csv-1", HEADER + other.replace(": [1, null]", ":[1,null]")) == reference


def test_lines_of_json_are_read_alike(tmp_path: Path, reference: Digest) -> None:
    lines = (
        '{"id":1,"name":"a \\"b\\",\\nc","active":true,"balance":1.50,"settings":{"k": [1, null]},'
        '"tags":"{a,NULL,\\"x y\\",\\"NULL\\"}","seen":"2024-02-29T23:59:59.5Z"}\n'
        '{"id":2,"name":"","active":false,"balance":null,"settings":{},"tags":"{}","seen":"2024-03-01T00:00:00Z"}\n'
        '{"id":3,"name":null,"active":null,"balance":-7.00,"settings":null,"tags":null,"seen":null}\n'
    )
    assert seen(tmp_path, "bare-ndjson-1", lines) == reference


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1.50", "1.51", "other values than the table has in balance"),
        ('2,"",', "2,,", "other values than the table has in name"),
        ("[1, null]", "[1, 0]", "other values than the table has in settings"),
        ('""NULL""', "NULL", "other values than the table has in tags"),
        ("59.5+00", "59.5+01", "other values than the table has in seen"),
        ("3,,,-7.00,,,\n", "", "2 rows instead of 3"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, reference: Digest, old: str, new: str, said: str) -> None:
    assert reference.differences(seen(tmp_path, "psql-csv", HEADER + PSQL.replace(old, new))) == said


def test_values_in_other_rows_are_noticed(tmp_path: Path, reference: Digest) -> None:
    swapped = PSQL.replace("-7.00", "?").replace("1.50", "-7.00").replace("?", "1.50")
    found = reference.differences(seen(tmp_path, "psql-csv", HEADER + swapped))
    assert found == "the table's values, but not in the table's rows"


def test_null_and_the_empty_text_are_alike_where_a_contestant_cannot_tell_them(tmp_path: Path) -> None:
    told = seen(tmp_path, "psql-csv", HEADER + PSQL, tells_null=False)
    assert seen(tmp_path, "cursor-csv", HEADER + PSQL.replace('2,"",', "2,,"), tells_null=False) == told


def test_other_columns_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    duckdb.sql(f"COPY (SELECT 1 AS id) TO '{file}' (FORMAT parquet)")
    with pytest.raises(Invalid, match="its columns are not those of the table"):
        digest(file, BY_NAME["bare-parquet-1"], TYPES, tells_null=True)


def test_a_type_that_is_not_compared_is_refused_at_the_start() -> None:
    with pytest.raises(Invalid, match="column shape: the benchmark does not know how polygon is compared"):
        validate.column_types([("id", "bigint"), ("shape", "polygon")])
