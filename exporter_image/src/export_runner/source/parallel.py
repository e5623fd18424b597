"""One table over several connections, all in one snapshot: the very rows that one connection gives, in its order.

A sequential scan gives the rows page by page. So ranges of pages (`ctid`), read one after the other, give the same rows
in the same order, and who reads which range does not show. Row addresses mean something within one snapshot alone: the
first connection exports its own and the others import it, and nothing of a range outlives the attempt.

Ranges go round among the connections. Each reads its own in turn and as far ahead as its queue takes; one emitter takes
the ranges in order. It waits for none but the connection whose range is next, which its own queue cannot hold up, since
what stands in there is of that range or of those before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

import psycopg
from psycopg import sql

from export_contract.failures import Failure
from export_contract.runspec import Source
from export_runner.clock import Stop
from export_runner.errors import ExportError, Stopped
from export_runner.frames.blocks import Chunk
from export_runner.queues import ByteQueue
from export_runner.source import masks
from export_runner.source import sql as statements
from export_runner.source.connect import Connection, connect
from export_runner.source.errors import from_psycopg
from export_runner.source.stream import copied
from export_runner.source.table import Table
from export_runner.tasks import LOOK_SECONDS, Task

RANGE_BLOCKS = 2
"""Blocks of bytes in a range of pages: so large that asking for it costs little beside reading it."""
AHEAD_BLOCKS = 2
"""Blocks that each connection may be ahead of the emitter: what a connection costs in memory, beside a chunk."""
AHEAD_CHUNKS = 64
SETTLE_SECONDS = 1.0
"""How long connections that are not read on may take to notice."""


@dataclass(frozen=True, slots=True)
class Spread:
    """`helpers` read beside the first connection, range by range; `because` says why they are fewer than was asked
    for, empty when they are not. `firsts` are the ranges' first pages. `ahead_bytes` may wait for each connection."""

    helpers: tuple[Connection, ...] = ()
    because: str = ""
    firsts: range = range(0)
    ahead_bytes: int = 0


def within(source: Source, firsts: range, number: int) -> sql.Composed:
    """The rows of a range. The last one is open: it ends where the table does."""
    last = number == len(firsts) - 1
    return statements.rows(source, (firsts[number], None if last else firsts[number + 1]))


ALONE = Spread()


def ranges(table: Table, block_bytes: int) -> range:
    """The first pages of ranges that cover the table, each of `RANGE_BLOCKS`; one range for a table without pages."""
    step = max(1, RANGE_BLOCKS * block_bytes // table.page_bytes)
    return range(0, max(1, table.pages), step)


def unfit(source: Source, table: Table | None, scan: str, key: tuple[str, ...]) -> str:
    """Why ranges of pages would not give what one connection does; empty when they do. `scan` is the name of the
    topmost node of the planner's way to the rows."""
    if source.relation is None:
        return "The dataset is a query, which only one connection can read."
    if key or source.order_by:
        return "The rows are read in an order, which only one connection can give."
    if table is None:
        return "The dataset is no plain table."
    if scan != "Seq Scan":
        return f"PostgreSQL does not read the table page by page ({scan or 'unknown plan'})."
    return ""


def join(
    connection: Connection, source: Source, snapshot: str, timeout_ms: int, hold: Callable[[Connection], None]
) -> Connection:
    """One more connection in the exported snapshot, as the first one is set. `hold` is given it at once, so that it is
    closed whatever happens. Raises `ExportError`."""
    made = connect(source)
    hold(made)
    if made.info.user != connection.info.user:
        raise ExportError(Failure.SOURCE_UNAVAILABLE, "The credentials have changed since the first connection.")
    assert source.relation is not None, "what is read by ranges is a table"
    try:
        made.execute(statements.begin(made.info.server_version, timeout_ms, snapshot))
        masks.set_key(made, source.masks)
        # Who waits for the table's ACCESS EXCLUSIVE waits for the first connection: waiting behind them would not end.
        made.execute(statements.lock(source.relation, wait=False))
        made.execute(statements.SAVEPOINT)
    except psycopg.Error as error:
        raise from_psycopg(error, relation=source.relation) from None
    return made


def gather(
    connection: Connection, joined: Callable[[], Connection], source: Source, firsts: range, stop: Stop
) -> tuple[tuple[Connection, ...], str]:
    """The further connections that can be had, at most as many as are asked for and have a range to read, and why they
    are fewer. Fewer will do: the rows are the same. `joined` makes one; it is called on several threads.
    Raises `ExportError`, `Stopped`."""
    wanted = min(source.connections, len(firsts)) - 1
    if wanted < 1:
        return (), "The table is so small that one connection reads it at once."
    try:
        answer = connection.execute(statements.explain(within(source, firsts, 0))).fetchone()
    except psycopg.Error as error:
        raise from_psycopg(error) from None
    way = statements.top_of(answer[0] if answer else None).get("Node Type")
    if way != "Tid Range Scan":
        return (), f"PostgreSQL does not go straight to a range of the table's pages ({way})."
    helpers, because = [], ""
    for task in [Task(f"join-{number}", joined) for number in range(1, wanted + 1)]:
        while not task.join(LOOK_SECONDS):
            stop.check()
        try:
            helpers.append(task.result())
        except ExportError as error:
            because = error.message
    return tuple(helpers), because


@dataclass(frozen=True, slots=True)
class _Item:
    """Some rows of a range; or its end; or why it did not come to it."""

    chunk: Chunk | None = None
    error: BaseException | None = None

    @property
    def size(self) -> int:
        return len(self.chunk.data) if self.chunk else 0


def in_order(
    connections: tuple[Connection, ...],
    statement: Callable[[int], sql.Composed],
    count: int,
    *,
    ahead_bytes: int,
    stop: Stop,
    look: Callable[[], None],
    began: Callable[[], None] = lambda: None,
) -> Generator[Chunk]:
    """The rows of ranges 0 to `count` - 1, which `statement` asks for, in order. At most `ahead_bytes` a connection
    wait in memory. What ends a connection's reading, by an error or by what `look` raises, is raised where the rows
    before it have been given. `began` is called when the first row of each range is there."""
    inner = stop.child()
    queues = [ByteQueue[_Item](ahead_bytes, AHEAD_CHUNKS, inner) for _ in connections]

    def watched() -> None:
        inner.check()
        look()

    def read(connection: Connection, queue: ByteQueue[_Item], numbers: Iterable[int]) -> None:
        try:
            for number in numbers:
                with closing(copied(connection, statement(number), watched, began)) as chunks:
                    for chunk in chunks:
                        queue.put(_Item(chunk))
                        del chunk
                queue.put(_Item())
        except Stopped:
            raise
        except BaseException as error:  # told in its turn, on the emitter's thread
            queue.put(_Item(error=error))

    def task(at: int) -> Task[None]:
        numbers = range(at, count, len(connections))
        return Task(f"read-{at + 1}", lambda: read(connections[at], queues[at], numbers))

    readers = [task(at) for at in range(len(connections))]
    try:
        for number in range(count):
            queue = queues[number % len(queues)]
            while (item := _next(queue)).chunk is not None:
                look()
                yield item.chunk
                queue.done(item)
                del item
            queue.done(item)
    finally:
        inner.request()
        for each in readers:
            each.join(SETTLE_SECONDS)


def _next(queue: ByteQueue[_Item]) -> _Item:
    item = queue.get()
    assert item is not None, "these queues are never closed"
    if item.error is not None:
        raise item.error
    return item
