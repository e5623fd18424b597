"""One COPY, read without blocking, in chunks of whole rows."""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable, Generator

import psycopg
from psycopg import pq, sql

from export_contract.failures import Failure
from export_runner.errors import ExportError
from export_runner.frames.blocks import Chunk
from export_runner.source.connect import Connection

HAND_SECONDS = 0.5
"""Rows that came are handed on after so long, however few they are, so that progress shows them."""
POLL_SECONDS = 0.1
"""How long a wait for the server lasts before `look` is called again."""
NAP_SECONDS = 0.0003
"""How long the server is left alone after all that came was taken: being woken for each 8 KiB that it sends costs both
sides more than the rows themselves."""
GROWTHS = 5
"""How often libpq's buffer of 16 KiB may double: it does when more comes and nothing was taken, and one look at the
connection reads no more than what fits. src/interfaces/libpq/fe-misc.c, pqReadData."""

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_TRAILER = b"\xff\xff"


def copied(
    connection: Connection, statement: sql.Composed, look: Callable[[], None], began: Callable[[], None] = lambda: None
) -> Generator[Chunk]:
    """The rows of a COPY BINARY, without its file header and trailer. `look` is called at least every `POLL_SECONDS`
    while the server is waited for, and ends the reading by what it raises; `began` is called when the first row is
    there. Raises psycopg's errors, `ExportError`."""
    pgconn = connection.pgconn
    pgconn.send_query(statement.as_bytes(connection))
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)

    growths = GROWTHS

    def wait() -> None:
        nonlocal growths
        look()
        if poll.poll(POLL_SECONDS * 1000):
            pgconn.consume_input()
            while growths and poll.poll(0):
                growths -= 1
                pgconn.consume_input()

    while pgconn.is_busy():
        wait()
    _expect(pgconn.get_result(), pq.ExecStatus.COPY_OUT)
    while (message := pgconn.get_copy_data(1))[0] == 0:
        wait()
    if message[0] > 0:
        row = _without_header(bytes(message[1]))
        if row not in {b"", _TRAILER}:
            began()
            yield _one(row)
            del row
        yield from _drained(pgconn, look, wait)
    _expect(pgconn.get_result(), pq.ExecStatus.COMMAND_OK)
    while pgconn.get_result() is not None:  # the end of the answer: another statement may follow
        pass


def _without_header(message: bytes) -> bytes:
    """The file header comes with the first row, or with the trailer."""
    if not message.startswith(_SIGNATURE):
        raise ExportError(Failure.SOURCE_QUERY_FAILED, "What answers is no COPY BINARY of PostgreSQL.")
    (extension,) = struct.unpack_from("!i", message, len(_SIGNATURE) + 4)
    return message[len(_SIGNATURE) + 8 + int(extension) :]


def _one(row: bytes) -> Chunk:
    import numpy as np  # not sooner: it takes a while to load, and the server is at work meanwhile

    return Chunk(row, np.array([len(row)], dtype=np.int64))


def _drained(pgconn: pq.abc.PGconn, look: Callable[[], None], wait: Callable[[], None]) -> Generator[Chunk]:
    from export_runner.source.drain import drain

    drained = drain(pgconn)
    handed = time.monotonic()
    try:
        while True:
            state = drained.fill()
            if state == 0 and not (drained.rows and time.monotonic() - handed > HAND_SECONDS):
                time.sleep(NAP_SECONDS)
                wait()
                continue
            if drained.rows:
                look()
                chunk = drained.take()
                # The server sends each row as one message: src/backend/commands/copyto.c, CopySendEndOfRow. The
                # decoder checks that what was taken for a row is one.
                if chunk.lengths[-1] == len(_TRAILER) and chunk.data[-len(_TRAILER) :] == _TRAILER:
                    chunk = Chunk(chunk.data[: -len(_TRAILER)], chunk.lengths[:-1])  # no row is: -1 is no count
                if chunk.rows:
                    yield chunk
                del chunk
                handed = time.monotonic()
            if state < 0:
                return
    finally:
        drained.close()


def _expect(result: pq.abc.PGresult | None, status: pq.ExecStatus) -> None:
    if result is not None and result.status == status:
        return
    if result is None:
        raise ExportError(Failure.SOURCE_UNAVAILABLE, "PostgreSQL ended the COPY without a word.", transient=True)
    raise psycopg.errors.error_from_result(result)
