"""What is made ready at both ends before the first row moves. Each is called on a thread of its own, where the heavy
libraries that it needs are imported, so that they load while connections are made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, TypeAlias

from export_contract import environment
from export_contract.report import Delivered
from export_contract.runspec import Fallback, Limits, RunSpec
from export_runner.retry import Retrier
from export_runner.tasks import Task

if TYPE_CHECKING:
    from export_runner.checkpoint import Mark, Terms
    from export_runner.frames.kinds import Field
    from export_runner.objects import Encoder
    from export_runner.sinks.sink import Sink
    from export_runner.source.catalog import Opened
    from export_runner.source.connect import Connection
    from export_runner.source.parallel import Spread
    from export_runner.source.plan import Plan

EncoderMaker: TypeAlias = "Callable[[tuple[Field, ...], Mark], Encoder]"

SinkMaker: TypeAlias = "Callable[[RunSpec, Retrier], Sink]"


@dataclass(slots=True)
class Held:
    """What must be let go of however an attempt ends."""

    connection: Connection | None = None
    sink: Sink | None = None
    helpers: list[Connection] = field(default_factory=list)
    """Further connections that were made, whether they are of use or not."""

    spread: Spread | None = None
    """How the rows are read by several."""

    reading: bool = False
    """A COPY was begun: what is read again must go back to before it."""

    keep: bool = False
    """Another attempt may go on from here."""

    def give_up_sink(self, seconds: float) -> None:
        """Takes back what was begun in the sink, in so many seconds at most; the rest is the sweeper's."""
        if (sink := self.sink) is not None:
            self.sink = None
            Task("abort", sink.abort).join(seconds)

    def let_go(self, seconds: float) -> None:
        """Ends the session and what was begun in the sink, both at once, each within so many seconds."""
        tasks: list[Task[object]] = []
        if (sink := self.sink) is not None:
            tasks.append(Task("abort", self._keep_or_abort(sink)))
        if self.connection is not None:
            from export_runner.source.copying import close

            tasks += [Task("close", partial(close, each)) for each in (self.connection, *self.helpers)]
        for task in tasks:
            task.join(seconds)

    def _keep_or_abort(self, sink: Sink) -> Callable[[], bool]:
        from export_runner.sinks.sink import Resumable

        return lambda: (self.keep and isinstance(sink, Resumable) and sink.hold()) or sink.abort()


def terms(spec: RunSpec, opened: Opened, plan: Plan) -> Terms | None:
    """What a later attempt must agree on; None when no checkpoint is kept."""
    if not plan.checkpoint:
        return None
    from export_runner import checkpoint

    return checkpoint.Terms(
        content=checkpoint.content(
            replace(spec, limits=limits(spec, opened)),
            opened.fields,
            plan.key,
            os.environ.get(environment.MASK_KEY, ""),
        ),
        fingerprint=checkpoint.fingerprint(),
        snapshot=opened.snapshot.id,
        snapshot_time=opened.snapshot.time,
    )


def planned(spec: RunSpec, opened: Opened) -> Plan:
    """How the rows are read. Raises `ExportError`."""
    from export_runner.formats.base import load
    from export_runner.source.keys import choose
    from export_runner.source.plan import Facts, decide, wants_key

    key = choose(spec.source, opened.fields, opened.keys) if wants_key(spec) else ()
    continues = spec.output.layout == "PartObjects" or load(spec.output.format).resumes == "Blocks"
    return decide(spec, Facts(key=key, continues=continues, estimated_bytes=opened.estimate.bytes))


def spread(spec: RunSpec, opened: Opened, plan: Plan, held: Held, retrier: Retrier) -> Spread | None:
    """The connections that read beside the first one; None when none was asked for. Raises `ExportError`, `Stopped`."""
    from export_runner.formats.base import USUAL_BLOCK
    from export_runner.source import parallel

    source, connection = spec.source, held.connection
    assert connection is not None, "the source is prepared"
    if source.connections < 2:
        return None
    made: tuple[Connection, ...] = ()
    firsts = range(0)
    block_bytes = spec.limits.block_bytes or USUAL_BLOCK  # a format's own is about encoding, not reading
    if not (because := parallel.unfit(source, opened.table, opened.scan, plan.key)):
        assert opened.table is not None, "what is fit is a table"
        firsts = parallel.ranges(opened.table, block_bytes)
        timeout_ms = int(retrier.deadline.remaining() * 1000)
        join = partial(parallel.join, connection, source, opened.snapshot.exported, timeout_ms, held.helpers.append)
        made, because = parallel.gather(connection, join, source, firsts, retrier.stop)
    if because:
        retrier.note(f"{1 + len(made)} of {source.connections} connections read. {because}")
    held.spread = parallel.Spread(made, because, firsts, parallel.AHEAD_BLOCKS * block_bytes)
    return held.spread


def limits(spec: RunSpec, opened: Opened) -> Limits:
    """The spec's, with blocks as large as its format wants them for these columns."""
    from export_runner.formats.base import load

    size = load(spec.output.format).block_bytes(spec.limits.block_bytes, opened.fields)
    return replace(spec.limits, block_bytes=size)


def in_order(opened: Opened, plan: Plan, start: Mark) -> Opened:
    """The source, read as planned and behind `start`."""
    from export_runner.source.keys import ordered

    if not plan.key:
        return opened
    return replace(opened, query=ordered(opened.query, opened.fields, plan.key, start.last_key))


def bucket(spec: RunSpec, retrier: Retrier) -> Sink:
    """The destination itself, not reached yet. Raises `ExportError`."""
    from export_runner.sinks.layouts import bucket

    return bucket(spec, retrier)


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
    readers = (held.connection, *(held.spread.helpers if held.spread else ()))
    if held.reading:
        for each in readers:
            rewind(each)
    try:
        for each in readers:
            each.execute(statement_timeout(int(retrier.deadline.remaining() * 1000)))
    except psycopg.Error as error:
        raise from_psycopg(error) from None
    choice.refuse_source(sink, held.connection)
    sink.begin()
    return sink


def source(spec: RunSpec, held: Held, retrier: Retrier) -> Opened:
    """The opened snapshot, of no more rows than may be read as far as can be foretold; its connection is in `held`.
    Raises `ExportError`, `Stopped`."""
    import psycopg

    from export_runner.source import estimate
    from export_runner.source.catalog import open_snapshot
    from export_runner.source.connect import connect
    from export_runner.source.errors import from_psycopg
    from export_runner.source.plan import wants_key

    def opened() -> Opened:
        if held.connection is not None:
            held.connection.close()
        connection = held.connection = connect(spec.source)
        timeout_ms = int(retrier.deadline.remaining() * 1000)
        found = open_snapshot(connection, spec.source, timeout_ms, with_keys=wants_key(spec))
        try:
            estimate.refuse(spec, found.estimate, lambda: estimate.row_bytes(connection, spec.source))
        except psycopg.Error as error:
            raise from_psycopg(error) from None
        return found

    return retrier.call("Reading from PostgreSQL", opened)


def encoder(spec: RunSpec) -> tuple[Callable[[Opened], Opened], EncoderMaker]:
    """What gives the source as the format wants it read, and what makes the encoder. Raises `ExportError`."""
    import export_runner.source.copying  # noqa: F401 - loaded here, while the connections are made
    from export_runner.formats.base import load
    from export_runner.formats.compression import compressor
    from export_runner.objects import Encoder

    output = spec.output
    chosen = load(output.format)
    prepare = cache(lambda: Task("load-format", chosen.prepare))

    def make(fields: tuple[Field, ...], start: Mark) -> Encoder:
        prepare()
        plain = (start.plain_bytes, start.plain_crc) if start.parts else None
        made = compressor(output.compression, inside=chosen.compresses_inside, plain=plain)
        return Encoder(chosen(fields, output), made, start)

    return lambda described: replace(described, fields=chosen.reads(described.fields, output)), make
