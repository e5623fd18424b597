"""What a run's transaction keeps, whatever becomes of its COPY."""

import os
from unittest import mock

import pytest

from export_contract.runspec import Relation, Source
from export_runner.clock import Stop
from export_runner.source.catalog import open_snapshot
from export_runner.source.connect import connect
from export_runner.source.copying import Reader, close, rewind
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration


def test_rows_can_be_read_again_in_the_same_snapshot_after_a_copy_that_was_left(postgres: PostgresServer) -> None:
    postgres.psql("CREATE TABLE twice AS SELECT n FROM generate_series(1, 50000) AS n")
    source = Source(
        name="s",
        dataset="d",
        host=postgres.host,
        port=postgres.port,
        database=postgres.database,
        columns=("n",),
        relation=Relation(schema="public", table="twice"),
    )
    with mock.patch.dict(os.environ, PGUSER=postgres.reader, PGPASSWORD=postgres.reader_password):
        connection = connect(source)
    try:
        opened = open_snapshot(connection, source, 60_000)
        left = Reader(connection, opened, 1024, Stop())
        next(left.chunks())
        postgres.psql("DELETE FROM twice WHERE n > 10")
        rewind(connection)
        again = Reader(connection, opened, 1024, Stop())
        assert sum(chunk.rows for chunk in again.chunks()) == 50_000
    finally:
        close(connection)
        postgres.psql("DROP TABLE twice")
