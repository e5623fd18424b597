"""PostgreSQL as the judge: what was delivered is loaded beside the table it came from, and compared row by row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tests.services.cluster import Services


@dataclass(frozen=True)
class Difference:
    """Rows of one side that the other lacks; duplicates count."""

    rows: int
    missing: int
    surplus: int

    @property
    def none(self) -> bool:
        return not self.missing and not self.surplus


class Database:
    """A connection as the superuser."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self.connection = connection

    def count(self, table: str) -> int:
        """Rows of a table; -1 when there is none."""
        found = self.connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
        if not found or not found[0]:
            return -1
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        row = self.connection.execute(query).fetchone()
        assert row
        return int(str(row[0]))

    def compare_csv(self, data: bytes, expected: str, columns: Sequence[str], query: str = "") -> Difference:
        """Load a CSV with a header line by PostgreSQL's own COPY and compare it with a table, or with a query on it."""
        with self.connection.transaction(force_rollback=True):
            self._delivered(expected, columns)
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            # HEADER MATCH refuses a header that names other columns, or the same in another order.
            load = sql.SQL("COPY delivered ({}) FROM STDIN (FORMAT csv, HEADER MATCH)").format(names)
            with self.connection.cursor().copy(load) as copy:
                copy.write(data)
            return self._difference(expected, columns, query)

    def compare_json(self, text: str, expected: str, columns: Sequence[str], *, array: bool) -> Difference:
        """The same for JSON: one array of documents, or a document a line. PostgreSQL reads each value as its column's
        type."""
        with self.connection.transaction(force_rollback=True):
            self._delivered(expected, columns)
            self.connection.execute("CREATE TEMPORARY TABLE documents (document json) ON COMMIT DROP")
            with self.connection.cursor().copy("COPY documents FROM STDIN") as copy:
                for line in [text] if array else text.removesuffix("\n").split("\n"):
                    copy.write_row([line])
            each = "json_array_elements(document)" if array else "document"
            self.connection.execute(
                sql.SQL(
                    "INSERT INTO delivered SELECT (json_populate_record(NULL::delivered, each)).*"
                    " FROM (SELECT {} AS each FROM documents) AS documents"
                ).format(sql.SQL(each))
            )
            return self._difference(expected, columns, "")

    def compare_rows(
        self, rows: Iterator[Sequence[object]], expected: str, columns: Sequence[str], query: str = ""
    ) -> Difference:
        """The same for rows of Python values."""
        with self.connection.transaction(force_rollback=True):
            self._delivered(expected, columns)
            with self.connection.cursor().copy("COPY delivered FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return self._difference(expected, columns, query)

    def _delivered(self, expected: str, columns: Sequence[str]) -> None:
        make = sql.SQL("CREATE TEMPORARY TABLE delivered ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0")
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        self.connection.execute(make.format(names, sql.Identifier(expected)))

    def _difference(self, expected: str, columns: Sequence[str], query: str) -> Difference:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        table = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(expected))
        wanted = sql.SQL("({})").format(sql.SQL(query) if query else table)
        # As text of whole rows: NULL differs from the empty string there, and -0 from 0, which `=` would not see.
        counted = sql.SQL(
            "WITH wanted AS (SELECT each::text FROM {} AS each), found AS (SELECT each::text FROM delivered AS each)"
            " SELECT (SELECT count(*) FROM found),"
            " (SELECT count(*) FROM (SELECT * FROM wanted EXCEPT ALL SELECT * FROM found) AS missing),"
            " (SELECT count(*) FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM wanted) AS surplus)"
        )
        row = self.connection.execute(counted.format(wanted)).fetchone()
        assert row
        return Difference(*(int(str(value)) for value in row))


@contextmanager
def database(services: Services) -> Iterator[Database]:
    """The services' PostgreSQL, while the block runs."""
    with services.kubectl.reached("postgres", 5432) as (host, port), _connect(services, host, port) as connection:
        connection.execute("SET TimeZone TO UTC")
        yield Database(connection)


def _connect(services: Services, host: str, port: int) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=host,
        port=port,
        dbname=services.postgres_database,
        user=services.postgres_user,
        password=services.postgres_password,
        autocommit=True,
        connect_timeout=10,
    )
