"""Rows as they come: one COPY, read without blocking, in chunks."""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
from psycopg import pq

from export_contract.failures import Failure
from export_runner.clock import Stop
from export_runner.errors import ExportError
from export_runner.frames.blocks import Chunk
from export_runner.frames.kinds import Field
from export_runner.source import sql as statements
from export_runner.source.catalog import Opened
from export_runner.source.connect import Connection
from export_runner.source.drain import drain
from export_runner.source.errors import from_psycopg

HAND_SECONDS = 0.5
"""Rows that came are handed on after so long, however few they are, so that progress shows them."""
POLL_SECONDS = 0.1
"""How long a wait for the server lasts before the stop is looked at again."""
CANCEL_SECONDS = 1.0

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_TRAILER = b"\xff\xff"


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
        enough: Callable[[], bool] = lambda: False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`enough` is asked at least every `POLL_SECONDS` whether to end before the last row; `beat` hears of life."""
        self._connection = connection
        self._opened = opened
        self._max_value_bytes = max_value_bytes
        self._stop = stop
        self._enough = enough
        self._beat = beat
        self.rows = 0
        self.ended = False
        self.first_row_at: float | None = None
        self._header_seen = False

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._opened.fields

    def chunks(self) -> Iterator[Chunk]:
        """Whole rows, until the last or until there are enough. Raises `ExportError`, `Stopped`."""
        try:
            yield from self._chunks()
        except _Enough:
            return
        except psycopg.Error as error:
            names = tuple(field.name for field in self.fields)
            raise from_psycopg(error, columns=names, rows=self.rows) from None

    def _chunks(self) -> Iterator[Chunk]:
        pgconn = self._connection.pgconn
        # Cancelled or failed, the COPY is undone to here, and the transaction with its snapshot lives on.
        self._connection.execute(statements.SAVEPOINT)
        statement = statements.copy(self._opened.query, self.fields, self._max_value_bytes)
        pgconn.send_query(statement.as_bytes(self._connection))
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        while pgconn.is_busy():
            self._wait(poll)
        self._expect(pgconn.get_result(), pq.ExecStatus.COPY_OUT)
        drained = drain(pgconn)
        handed = time.monotonic()
        try:
            while True:
                state = drained.fill()
                if state == 0 and not (drained.rows and time.monotonic() - handed > HAND_SECONDS):
                    self._wait(poll)
                    continue
                if drained.rows:
                    yield from self._chunk(drained.take())
                    handed = time.monotonic()
                if state < 0:
                    break
        finally:
            drained.close()
        self._expect(pgconn.get_result(), pq.ExecStatus.COMMAND_OK)
        self.ended = True

    def _chunk(self, chunk: Chunk) -> Iterator[Chunk]:
        # The server sends each row as one message: src/backend/commands/copyto.c, CopySendEndOfRow. The decoder
        # checks that what was taken for a row is one.
        self._look()
        if not self._header_seen:
            chunk = _without_header(chunk)
            self._header_seen = True
        if chunk.rows and chunk.lengths[-1] == len(_TRAILER) and chunk.data.endswith(_TRAILER):
            chunk = Chunk(chunk.data[: -len(_TRAILER)], chunk.lengths[:-1])  # no row is: -1 is no count of fields
        if not chunk.rows:
            return
        if self.first_row_at is None:
            self.first_row_at = time.monotonic()
        rows = chunk.rows
        yield chunk
        self.rows += rows

    def _wait(self, poll: select.poll) -> None:
        self._look()
        if poll.poll(POLL_SECONDS * 1000):
            self._connection.pgconn.consume_input()

    def _look(self) -> None:
        self._beat()
        self._stop.check()
        if self._enough():
            raise _Enough

    def _expect(self, result: pq.abc.PGresult | None, status: pq.ExecStatus) -> None:
        if result is not None and result.status == status:
            return
        if result is None:
            raise ExportError(Failure.SOURCE_UNAVAILABLE, "PostgreSQL ended the COPY without a word.", transient=True)
        raise psycopg.errors.error_from_result(result)


def _without_header(chunk: Chunk) -> Chunk:
    """The file header comes with the first row, or with the trailer."""
    if not chunk.data.startswith(_SIGNATURE):
        raise ExportError(Failure.SOURCE_QUERY_FAILED, "What answers is no COPY BINARY of PostgreSQL.")
    (extension,) = struct.unpack_from("!i", chunk.data, len(_SIGNATURE) + 4)
    header = len(_SIGNATURE) + 8 + int(extension)
    rest = int(chunk.lengths[0]) - header
    lengths = np.concatenate(([rest], chunk.lengths[1:])) if rest else chunk.lengths[1:]
    return Chunk(chunk.data[header:], lengths)


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
