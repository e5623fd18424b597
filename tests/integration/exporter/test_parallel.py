"""Several connections give the rows of one: in its order, from its snapshot, and with its failures."""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

from export_contract.failures import Failure
from export_contract.runspec import Format, Limits, RunSpec
from export_runner import preparing
from export_runner.clock import Deadline, Stop
from export_runner.errors import ExportError, Stopped
from export_runner.preparing import Held
from export_runner.retry import Retrier
from export_runner.source import parallel
from export_runner.source.catalog import Opened, open_snapshot
from export_runner.source.connect import connect
from export_runner.source.copying import Reader, rewind
from export_runner.source.parallel import ALONE, Spread
from export_runner.source.plan import Plan
from tests.integration.exporter.runner import Exporter
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

SMALL = Limits(block_bytes=64 * 1024)
"""Ranges of 16 pages: hundreds in the users' table."""
HEAP = """
DROP TABLE IF EXISTS {table};
CREATE TABLE {table} AS SELECT id, email, bio, settings, tags FROM users ORDER BY md5(id::text) LIMIT 30000;
ALTER TABLE {table} SET (autovacuum_enabled = off);
UPDATE {table} SET bio = bio || ' more' WHERE id % 5 = 0;
DELETE FROM {table} WHERE id % 7 = 0 OR ctid < '(40,0)' AND ctid >= '(20,0)';
VACUUM {table};
INSERT INTO {table} SELECT id, email, bio, settings, tags FROM users WHERE id % 11 = 0;
ANALYZE {table};
"""


@pytest.fixture(scope="module")
def heap(postgres: PostgresServer) -> Iterator[str]:
    """A table whose rows are in no order, with gaps and holes."""
    postgres.psql(HEAP.format(table="ranged"))
    yield "ranged"
    postgres.psql("DROP TABLE ranged")


@dataclass
class Session:
    """What an attempt has opened."""

    spec: RunSpec
    held: Held
    opened: Opened
    spread: Spread | None
    stop: Stop
    notes: list[str]

    def reader(self, spread: Spread | None = None, **options: Any) -> Reader:
        assert self.held.connection is not None
        most = self.spec.limits.max_value_bytes
        return Reader(self.held.connection, self.opened, most, self.stop, spread=spread or ALONE, **options)

    def rows(self, spread: Spread | None = None) -> tuple[int, bytes]:
        chunks = list(self.reader(spread).chunks())
        return sum(chunk.rows for chunk in chunks), b"".join(chunk.data for chunk in chunks)


@contextlib.contextmanager
def session(spec: RunSpec, exporter: Exporter, key: tuple[str, ...] = ()) -> Iterator[Session]:
    stop, held, notes = Stop(), Held(), list[str]()
    retrier = Retrier(Deadline(60), stop, note=notes.append)
    with mock.patch.dict(os.environ, exporter.environment):
        try:
            held.connection = connect(spec.source)
            opened = open_snapshot(held.connection, spec.source, 60_000)
            spread = preparing.spread(spec, opened, Plan(key=key), held, retrier)
            yield Session(spec, held, opened, spread, stop, notes)
        finally:
            stop.request()
            held.let_go(5)


@pytest.mark.parametrize("form", ["CSV", "NDJSON", "Parquet"])
def test_the_object_is_the_same_whatever_the_number_of_connections(exporter: Exporter, heap: str, form: Format) -> None:
    delivered = {}
    for connections in (1, 2, 4):
        spec = exporter.spec(
            ("id", "email", "bio", "settings", "tags"),
            table=heap,
            output=(form, "None"),
            limits=SMALL,
            connections=connections,
            row_filter="id % 3 <> 1",
        )
        finished = exporter.run(spec)
        assert finished.code == 0, finished.message
        manifest = exporter.manifest(spec)
        assert (manifest.connections, manifest.fewer_connections_because) == (connections, "")
        delivered[connections] = exporter.read(spec.destination.key)
    assert delivered[1] == delivered[2] == delivered[4]


def test_all_connections_read_one_snapshot_while_others_write(exporter: Exporter, postgres: PostgresServer) -> None:
    postgres.psql(HEAP.format(table="moving"))
    before = postgres.psql("SELECT count(*), sum(id) FROM moving")
    with session(exporter.spec(("id", "bio"), table="moving", limits=SMALL, connections=4), exporter) as opened:
        postgres.psql(
            "UPDATE moving SET bio = 'moved' WHERE id % 2 = 0; DELETE FROM moving WHERE id % 3 = 0;"
            " INSERT INTO moving SELECT -id, email, bio, settings, tags FROM users LIMIT 5000"
        )
        assert opened.spread is not None
        assert len(opened.spread.helpers) == 3
        together, alone = opened.rows(opened.spread), opened.rows()
    assert together == alone
    assert before.startswith(f"{together[0]}|")
    postgres.psql("DROP TABLE moving")


@pytest.mark.parametrize("rows", [0, 1])
def test_a_table_of_one_page_is_read_by_one_connection(exporter: Exporter, postgres: PostgresServer, rows: int) -> None:
    postgres.psql(f"CREATE TABLE page AS SELECT id FROM users LIMIT {rows}")
    spec = exporter.spec(("id",), table="page", connections=4)
    finished = exporter.run(spec)
    postgres.psql("DROP TABLE page")
    manifest = exporter.manifest(spec)
    assert (finished.code, manifest.rows, manifest.connections) == (0, rows, 1)
    assert "so small" in manifest.fewer_connections_because


@pytest.mark.parametrize(
    ("kind", "given", "right"),
    [
        ("TABLE several AS SELECT id FROM users", {"order_by": ("id",)}, "in an order"),
        ("VIEW several AS SELECT id FROM users", {}, "no plain table"),
        ("MATERIALIZED VIEW several AS SELECT id FROM users", {}, "no plain table"),
        ("TABLE several (id int) PARTITION BY LIST (id)", {}, "no plain table"),
        ("TABLE several (id int PRIMARY KEY)", {"row_filter": "id = 7"}, "page by page (Index Only Scan)"),
    ],
)
def test_what_pages_do_not_give_in_order_is_read_by_one_connection(
    exporter: Exporter, postgres: PostgresServer, kind: str, given: dict[str, Any], right: str
) -> None:
    postgres.psql(f"CREATE {kind}")
    spec = exporter.spec(("id",), table="several", connections=2, limits=SMALL, **given)
    with session(spec, exporter) as opened:
        assert opened.spread is not None
        assert (opened.spread.helpers, opened.held.helpers) == ((), [])
        assert right in opened.spread.because
        assert opened.notes == [f"1 of 2 connections read. {opened.spread.because}"]
        assert opened.rows(opened.spread) == opened.rows()
    postgres.psql(f"DROP {kind.partition(' several')[0]} several")


def test_connections_that_cannot_be_had_are_done_without(
    exporter: Exporter, postgres: PostgresServer, heap: str
) -> None:
    postgres.psql("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 2 IN ROLE pg_read_all_data")
    exporter.environment |= {"PGUSER": "few", "PGPASSWORD": "few"}
    with session(exporter.spec(("id",), table=heap, limits=SMALL, connections=4), exporter) as opened:
        assert opened.spread is not None
        assert len(opened.spread.helpers) == 1
        assert "too many connections for role" in opened.spread.because
        assert opened.rows(opened.spread) == opened.rows()
    postgres.psql("DROP ROLE few")


def test_nobody_waits_behind_whoever_waits_for_the_first_connection(
    exporter: Exporter, postgres: PostgresServer, heap: str
) -> None:
    spec = exporter.spec(("id",), table=heap, limits=SMALL, connections=2)
    with session(dataclasses.replace(spec, source=dataclasses.replace(spec.source, connections=1)), exporter) as first:
        ddl = threading.Thread(target=postgres.psql, args=(f"ALTER TABLE {heap} ADD COLUMN late int",))
        ddl.start()
        while postgres.psql("SELECT count(*) FROM pg_locks WHERE NOT granted") == "0":
            pass
        assert first.held.connection is not None
        with mock.patch.dict(os.environ, exporter.environment), pytest.raises(ExportError, match="ACCESS EXCLUSIVE"):
            parallel.join(first.held.connection, spec.source, "", 60_000, first.held.helpers.append)
    ddl.join()


def test_a_connection_that_is_lost_ends_the_attempt_with_a_failure_that_may_pass(
    exporter: Exporter, postgres: PostgresServer, heap: str
) -> None:
    with session(exporter.spec(("id", "bio"), table=heap, limits=SMALL, connections=3), exporter) as opened:
        assert opened.spread is not None
        chunks = opened.reader(opened.spread).chunks()
        next(chunks)
        pid = opened.spread.helpers[1].info.backend_pid
        assert postgres.psql(f"SELECT pg_terminate_backend({pid}, 10000)") == "t"
        with pytest.raises(ExportError) as caught:
            list(chunks)
    assert (caught.value.failure, caught.value.transient) == (Failure.SOURCE_UNAVAILABLE, True)


def test_a_run_that_lost_one_of_its_connections_reads_anew_and_delivers_the_same(
    exporter: Exporter, postgres: PostgresServer, heap: str
) -> None:
    slow = "pg_catalog.pg_sleep(0.0001)::pg_catalog.text = ''"
    undisturbed = exporter.spec(("id", "bio"), table=heap, limits=SMALL)
    assert exporter.run(undisturbed).code == 0
    spec = exporter.spec(("id", "bio"), table=heap, limits=SMALL, connections=3, row_filter=slow)
    running = exporter.start(spec)
    helper = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'export-runner' AND query LIKE 'COPY%ctid%'"
        " ORDER BY backend_start DESC LIMIT 1"
    )
    running.until(lambda: postgres.psql(helper) != "", "a further connection that reads")
    postgres.psql(f"SELECT pg_terminate_backend(pid) FROM ({helper}) AS found")
    finished = running.finish()
    assert (finished.code, exporter.manifest(spec).connections) == (0, 3)
    assert "is tried again in 1 s" in finished.said
    assert exporter.read(spec.destination.key) == exporter.read(undisturbed.destination.key)


def test_a_value_that_is_too_large_is_named_with_its_place_by_any_number_of_connections(
    exporter: Exporter, postgres: PostgresServer
) -> None:
    postgres.psql(
        "CREATE TABLE large AS SELECT n AS id, repeat('x', 500) AS note FROM generate_series(1, 20000) AS n;"
        "INSERT INTO large VALUES (20001, repeat('y', 1001));"
        "INSERT INTO large SELECT n, 'z' FROM generate_series(1, 5000) AS n"
    )
    messages = set()
    for connections in (1, 3):
        limits = dataclasses.replace(SMALL, max_value_bytes=1000)
        finished = exporter.run(exporter.spec(("id", "note"), table="large", limits=limits, connections=connections))
        assert finished.reason == "ValueTooLarge"
        messages.add(finished.message)
    postgres.psql("DROP TABLE large")
    (message,) = messages
    assert "column 'note'" in message
    assert "1,001 bytes" in message


def test_rows_can_be_read_again_by_all_connections_after_a_reading_that_was_left(exporter: Exporter, heap: str) -> None:
    with session(exporter.spec(("id", "bio"), table=heap, limits=SMALL, connections=2), exporter) as opened:
        assert opened.spread is not None
        assert opened.held.connection is not None
        left = opened.reader(opened.spread).chunks()
        next(left)
        left.close()
        for each in (opened.held.connection, *opened.spread.helpers):
            rewind(each)
        assert opened.rows(opened.spread) == opened.rows()


def test_enough_ends_all_connections_with_whole_rows(exporter: Exporter, heap: str) -> None:
    with session(exporter.spec(("id", "bio"), table=heap, limits=SMALL, connections=2), exporter) as opened:
        assert opened.spread is not None
        read: list[int] = []
        reader = opened.reader(opened.spread, enough=lambda: sum(read) > 1000)
        read.extend(chunk.rows for chunk in reader.chunks())
        assert sum(read) > 1000
        assert not reader.ended


def test_a_stop_ends_all_connections(exporter: Exporter, heap: str) -> None:
    with session(exporter.spec(("id", "bio"), table=heap, limits=SMALL, connections=2), exporter) as opened:
        chunks = opened.reader(opened.spread).chunks()
        next(chunks)
        opened.stop.request()
        with pytest.raises(Stopped):
            list(chunks)
