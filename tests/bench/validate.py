"""Is what a contestant wrote the table? Read by DuckDB, which shares no code with the exporter, and compared with what
`psql \\copy` wrote.

Both sides are cast to the columns' types and each row is hashed; the sum of the hashes does not depend on the rows'
order. What may differ between contestants is only how a value is written:

- booleans as `t`, `true` or `True`, instants in any of ISO 8601's forms, numerics with more zeros, floats in any text
  that reads back the same: by the cast;
- json with other blanks, or as a string within JSON: it is parsed and written anew on both sides;
- arrays as lists of another notation: they are brought into PostgreSQL's own;
- NULL and the empty text alike, by the csv module: then they are compared so on both sides, and the report says it.

COPY BINARY is read by PostgreSQL itself and written as CSV, which must equal what `\\copy` wrote to the byte.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tests.bench.contestants import Contestant, Place

_TYPES: Mapping[str, str] = {
    "bigint": "BIGINT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "double precision": "DOUBLE",
    "integer": "INTEGER",
    "timestamp with time zone": "TIMESTAMPTZ",
}
_ARRAY_TEXT = """
CREATE MACRO array_text(a) AS CASE WHEN a IS NULL THEN NULL ELSE '{' || coalesce(array_to_string(list_transform(a,
  lambda e:
  CASE WHEN e IS NULL THEN 'NULL'
       WHEN e = '' OR upper(e) = 'NULL' OR regexp_matches(e, '[{}",\\\\\\s]')
       THEN '"' || replace(replace(e, '\\', '\\\\'), '"', '\\"') || '"'
       ELSE e END), ','), '') || '}' END
"""


class Invalid(ValueError):  # noqa: N818 - says what the output is
    """The output is not the table."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Rows, the sum of their hashes, and by column the sum of its values'."""

    rows: int
    hashes: int
    columns: Mapping[str, int]

    def differences(self, other: "Digest") -> str:
        """What to say of another one that should be the same; empty if it is."""
        if self.rows != other.rows:
            return f"{other.rows:,} rows instead of {self.rows:,}"
        if named := [name for name, hashes in self.columns.items() if other.columns[name] != hashes]:
            return f"other values than the table has in {', '.join(named)}"
        return "" if self.hashes == other.hashes else "the table's values, but not in the table's rows"


class Validator:
    """Of one table. Remembers what was found right, so that the same bytes again are only hashed."""

    def __init__(self, place: Place, reference: Contestant, reference_file: Path, rows: int) -> None:
        """`reference_file` is what `psql \\copy` wrote; it must have `rows` rows, as the server counts them."""
        self._place = place
        self._reference = reference
        self._expected = {
            told: digest(reference_file, reference, place.types, tells_null=told) for told in (True, False)
        }
        self._known: dict[str, str] = {}
        if self._expected[True].rows != rows:
            raise Invalid(f"psql wrote {self._expected[True].rows:,} rows of {rows:,}")

    def check(self, contestant: Contestant, file: Path) -> None:
        """Raises `Invalid`."""
        sha = _sha256(file)
        if self._known.get(contestant.name) == sha:
            return
        if contestant.form == "Binary":
            self._check_binary(file)
        else:
            expected = self._expected[contestant.tells_null]
            try:
                seen = digest(file, contestant, self._place.types, tells_null=contestant.tells_null)
            except duckdb.Error as error:
                raise Invalid(f"DuckDB cannot read it: {error}") from error
            if said := expected.differences(seen):
                raise Invalid(said)
        self._known[contestant.name] = sha

    def _check_binary(self, file: Path) -> None:
        server, name, again = self._place.postgres, self._place.table.name, self._place.directory / "again"
        server.psql(f"DROP TABLE IF EXISTS bench_again; CREATE UNLOGGED TABLE bench_again (LIKE {name})")
        try:
            server.psql(f"\\copy bench_again FROM '{file}' (FORMAT binary)")
            server.psql(f"\\copy bench_again TO '{again}' (FORMAT csv, HEADER)")
            seen = digest(again, self._reference, self._place.types, tells_null=True)
            if said := self._expected[True].differences(seen):  # not the order: pages fill otherwise the second time
                raise Invalid(f"PostgreSQL reads from it {said}")
        finally:
            again.unlink(missing_ok=True)
            server.psql("DROP TABLE bench_again")


def digest(file: Path, contestant: Contestant, types: Mapping[str, str], *, tells_null: bool) -> Digest:
    """Of a file that a contestant wrote; `types` are the table's columns, in order, with PostgreSQL's types.

    Raises `duckdb.Error` where it cannot be read as the table, `Invalid` for other columns.
    """
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(_ARRAY_TEXT)
        rows = _rows(file, contestant, types)
        kinds = {name: kind for name, kind, *_ in database.execute(f"DESCRIBE {rows}").fetchall()}
        if list(kinds) != list(types):
            raise Invalid("its columns are not those of the table, in order")
        values = [_value(name, types[name], kinds[name], contestant, tells_null) for name in kinds]
        inner = ", ".join(f"{value} AS v{number}" for number, value in enumerate(values))
        names = [f"v{number}" for number in range(len(values))]
        sums = ", ".join(f"sum(hash({each}))::VARCHAR" for each in (", ".join(names), *names))
        (found,) = database.execute(f"SELECT count(*), {sums} FROM (SELECT {inner} FROM ({rows}))").fetchall()
    count, hashes, *columns = (int(each or 0) for each in found)
    return Digest(count, hashes, dict(zip(kinds, columns, strict=True)))


def _rows(file: Path, contestant: Contestant, types: Mapping[str, str]) -> str:
    if contestant.form == "Parquet":
        return f"SELECT * FROM read_parquet('{file}')"
    if contestant.form == "CSV":
        columns = ", ".join(f"'{name}': 'VARCHAR'" for name in types)
        options = "header = true, delim = ',', quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false"
        return (
            f"SELECT * FROM read_csv('{file}', auto_detect = false, columns = {{{columns}}}, {options},"
            " max_line_size = 33554432, strict_mode = true)"
        )
    columns = ", ".join(f"'{name}': '{_json_type(types[name])}'" for name in types)
    shape = "newline_delimited" if contestant.form == "NDJSON" else "array"
    return (
        f"SELECT * FROM read_json('{file}', format = '{shape}', columns = {{{columns}}},"
        " maximum_object_size = 33554432)"
    )


def _json_type(kind: str) -> str:
    return "JSON" if kind == "jsonb" else _TYPES.get(kind, kind if kind.startswith("numeric") else "VARCHAR")


def _value(name: str, kind: str, seen: str, contestant: Contestant, tells_null: bool) -> str:
    """The column as its type has it, whatever was seen of it."""
    value = f'"{name}"'
    if kind == "jsonb":
        if contestant.library == "duckdb" and contestant.form == "NDJSON":
            value = f"({value} ->> '$')"  # a string that holds the document
        return f"json({value})::VARCHAR"
    if kind.endswith("[]"):
        if seen == "VARCHAR" and contestant.library == "duckdb":
            value = f"CAST({value} AS VARCHAR[])"
            seen = "VARCHAR[]"
        value = f"array_text({value})" if seen.endswith("[]") else value
    elif kind in _TYPES:
        value = f"CAST({value} AS {_TYPES[kind]})"
    elif kind.startswith("numeric"):
        value = f"CAST({value} AS {kind})"
    elif not tells_null:
        value = f"nullif({value}, '')"
    return value


def column_types(place_types: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Names and PostgreSQL's names of types. Raises `Invalid` for a type that is not compared here."""
    for name, kind in place_types:
        known = kind in _TYPES or kind in {"text", "jsonb", "text[]"} or kind.startswith(("numeric(", "character("))
        if not known:
            raise Invalid(f"column {name}: the benchmark does not know how {kind} is compared")
    return dict(place_types)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
