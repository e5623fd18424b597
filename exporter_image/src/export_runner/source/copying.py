"""Rows of an opened snapshot, by one connection or by several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing

import psycopg
from psycopg import pq, sql

from export_runner.clock import Stop
from export_runner.frames.blocks import Chunk
from export_runner.frames.kinds import Field
from export_runner.source import sql as statements
from export_runner.source.catalog import Opened
from export_runner.source.connect import Connection
from export_runner.source.errors import from_psycopg
from export_runner.source.guarded import copy
from export_runner.source.parallel import ALONE, Spread, in_order, within
from export_runner.source.stream import copied

CANCEL_SECONDS = 1.0


class _Enough(Exception):  # noqa: N818 - no error
    """Reading ends before the last row."""


class Reader:
    """Reads the rows of an opened snapshot. `rows` counts those that arrived; `ended` says that the last one did."""

    def __init__(
        self,
        connection: Connection,
        opened: Opened,
        max_value_bytes: int,
        stop: Stop,
        *,
        spread: Spread = ALONE,
        enough: Callable[[], bool] = lambda: False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`enough` is asked at least every 0.1 s whether to end before the last row; `beat` hears of life."""
        self._connection = connection
        self._opened = opened
        self._max_value_bytes = max_value_bytes
        self._stop = stop
        self._spread = spread
        self._enough = enough
        self._beat = beat
        self.rows = 0
        self.ended = False
        self.first_row_at: float | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._opened.fields

    def chunks(self) -> Generator[Chunk]:
        """Whole rows, until the last or until there are enough. Raises `ExportError`, `Stopped`."""
        try:
            with closing(self._read()) as chunks:
                for chunk in chunks:
                    rows = chunk.rows
                    yield chunk
                    del chunk
                    self.rows += rows
        except _Enough:
            return
        except psycopg.Error as error:
            names = tuple(field.name for field in self.fields)
            raise from_psycopg(error, columns=names, rows=self.rows) from None
        self.ended = True

    def _read(self) -> Generator[Chunk]:
        opened, spread = self._opened, self._spread

        def statement(query: sql.Composed) -> sql.Composed:
            return copy(query, self.fields, self._max_value_bytes, opened.table)

        if not spread.helpers:
            return copied(self._connection, statement(opened.query), self._look, self._began)
        return in_order(
            (self._connection, *spread.helpers),
            lambda number: statement(within(opened.source, spread.firsts, number)),
            len(spread.firsts),
            ahead_bytes=spread.ahead_bytes,
            stop=self._stop,
            look=self._look,
            began=self._began,
        )

    def _began(self) -> None:
        self.first_row_at = self.first_row_at or time.monotonic()

    def _look(self) -> None:
        self._beat()
        self._stop.check()
        if self._enough():
            raise _Enough


def rewind(connection: Connection) -> None:
    """After a COPY that did not end: cancels it, takes in what still comes, and goes back to before it, in the same
    snapshot. Rows can be read again then. Raises `ExportError` when the session is lost."""
    pgconn = connection.pgconn
    try:
        if pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=CANCEL_SECONDS)
            while (result := pgconn.get_result()) is not None:
                while result.status == pq.ExecStatus.COPY_OUT and pgconn.get_copy_data(0)[0] >= 0:
                    pass
        connection.execute(statements.ROLLBACK_TO_SAVEPOINT)
    except psycopg.Error as error:
        raise from_psycopg(error) from None


def close(connection: Connection) -> None:
    """Ends the session; a statement that still runs is cancelled first. May take `CANCEL_SECONDS`."""
    try:
        if not connection.closed and connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=CANCEL_SECONDS)
    except psycopg.Error:
        return  # the server notices the closed connection soon (client_connection_check_interval)
    finally:
        connection.close()
