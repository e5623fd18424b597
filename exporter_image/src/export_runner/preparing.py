"""What is made ready at both ends before the first row moves. Each is called on a thread of its own, where the heavy
libraries that it needs are imported, so that they load while connections are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from export_contract.report import Delivered
from export_contract.runspec import Fallback, RunSpec
from export_runner.retry import Retrier
from export_runner.tasks import Task

if TYPE_CHECKING:
    from export_runner.pipeline import Encoder
    from export_runner.sinks.sink import Sink
    from export_runner.source.catalog import Opened
    from export_runner.source.connect import Connection

EncoderMaker: TypeAlias = "Callable[[Opened], tuple[Opened, Encoder]]"
"""Gives the source as the format wants it read, and the encoder of what is read so."""

SinkMaker: TypeAlias = "Callable[[RunSpec, Retrier], Sink]"


@dataclass(slots=True)
class Held:
    """What must be let go of however an attempt ends."""

    connection: Connection | None = None
    sink: Sink | None = None
    reading: bool = False
    """A COPY was begun: what is read again must go back to before it."""

    def give_up_sink(self, seconds: float) -> None:
        """Takes back what was begun in the sink, in so many seconds at most; the rest is the sweeper's."""
        if (sink := self.sink) is not None:
            self.sink = None
            Task("abort", sink.abort).join(seconds)

    def let_go(self, seconds: float) -> None:
        """Ends the session and what was begun in the sink, both at once, each within so many seconds."""
        tasks: list[Task[object]] = []
        if (sink := self.sink) is not None:
            tasks.append(Task("abort", sink.abort))
        if (connection := self.connection) is not None:
            from export_runner.source.copying import close

            tasks.append(Task("close", lambda: close(connection)))
        for task in tasks:
            task.join(seconds)


def bucket(spec: RunSpec, retrier: Retrier) -> Sink:
    """The destination itself, not reached yet. Raises `ExportError`."""
    from export_runner.sinks.bucket import Bucket

    return Bucket(spec, retrier)


def destination(spec: RunSpec, held: Held, retrier: Retrier, make_sink: SinkMaker) -> Delivered | Sink:
    """What was delivered before, or the sink, begun. Raises `ExportError`, `Stopped`."""
    sink = held.sink = make_sink(spec, retrier)
    if (found := sink.find()) is not None:
        return found
    sink.begin()
    return sink


def fallback(spec: RunSpec, other: Fallback, held: Held, retrier: Retrier) -> Delivered | Sink:
    """What was delivered there before, or the fallback's sink, begun. The source can then be read from its first row
    again, in the snapshot that it has. Raises `ExportError`, `Stopped`."""
    import psycopg

    from export_runner import fallback as choice
    from export_runner.source.copying import rewind
    from export_runner.source.errors import from_psycopg
    from export_runner.source.sql import statement_timeout

    sink = held.sink = choice.sink(spec, other, retrier)
    if (found := sink.find()) is not None:
        return found
    assert held.connection is not None, "the source is prepared"
    if held.reading:
        rewind(held.connection)
    try:
        held.connection.execute(statement_timeout(int(retrier.deadline.remaining() * 1000)))
    except psycopg.Error as error:
        raise from_psycopg(error) from None
    choice.refuse_source(sink, held.connection)
    sink.begin()
    return sink


def source(spec: RunSpec, held: Held, retrier: Retrier) -> Opened:
    """The opened snapshot; its connection is in `held`. Raises `ExportError`, `Stopped`."""
    from export_runner.source.catalog import open_snapshot
    from export_runner.source.connect import connect

    def opened() -> Opened:
        if held.connection is not None:
            held.connection.close()
        held.connection = connect(spec.source)
        return open_snapshot(held.connection, spec.source, int(retrier.deadline.remaining() * 1000))

    return retrier.call("Reading from PostgreSQL", opened)


def encoder(spec: RunSpec) -> EncoderMaker:
    """Raises `ExportError`."""
    import export_runner.source.copying  # noqa: F401 - loaded here, while the connections are made
    from export_runner.formats.base import load
    from export_runner.formats.compression import compressor
    from export_runner.pipeline import Encoder

    output = spec.output
    chosen = load(output.format)

    def make(described: Opened) -> tuple[Opened, Encoder]:
        opened = replace(described, fields=chosen.reads(described.fields, output))
        inside = chosen.compresses_inside
        return opened, Encoder(chosen(opened.fields, output), compressor(output.compression, inside=inside))

    return make
