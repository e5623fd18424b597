"""The exporter's own pipeline, from a real PostgreSQL to the object's bytes, without a process and without S3."""

import contextlib
import dataclasses
import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zstandard

from export_contract.runspec import Compression, Limits, Output, Source
from export_runner.clock import Stop
from export_runner.formats.base import Format, load
from export_runner.formats.compression import compressor
from export_runner.frames.blocks import Chunk
from export_runner.frames.kinds import Field
from export_runner.meter import Meter
from export_runner.objects import Encoder, ObjectCutter
from export_runner.pipeline import Encoded, Pipeline, Rows
from export_runner.sinks.parts import Part
from export_runner.source.catalog import Opened, open_snapshot
from export_runner.source.connect import Connection, connect
from export_runner.source.copying import Reader
from tests.services.host import PostgresServer

PATIENCE_MS = 60_000


@dataclass(frozen=True)
class Exported:
    """`data` is unpacked, unless the format compresses inside."""

    data: bytes
    fields: tuple[Field, ...]
    rows: int
    nulled: dict[str, int]


def exported(
    postgres: PostgresServer,
    columns: tuple[str, ...],
    query: str | None,
    output: Output,
    *,
    limits: Limits | None = None,
    chosen: type[Format] | None = None,
    **source: Any,
) -> Exported:
    """`chosen` is a format that no entry point names. Raises `ExportError`."""
    limits, kind = limits or Limits(), chosen or load(output.format)
    with snapshot(postgres, columns, query, **source) as (connection, described):
        opened = dataclasses.replace(described, fields=kind.reads(described.fields, output))
        compression = compressor(output.compression, inside=kind.compresses_inside)
        encoder = Encoder(kind(opened.fields, output), compression)
        rows = Reader(connection, opened, limits.max_value_bytes, Stop())
        limits = dataclasses.replace(limits, block_bytes=kind.block_bytes(limits.block_bytes, opened.fields))
        data, done = through_pipeline(rows, encoder, limits)
    whole = data if kind.compresses_inside else unpacked(data, output.compression)
    return Exported(whole, opened.fields, done.rows, done.nulled)


def recorded(postgres: PostgresServer, columns: tuple[str, ...], query: str) -> tuple[tuple[Field, ...], list[Chunk]]:
    """The columns, and the rows as they come."""
    with snapshot(postgres, columns, query) as (connection, opened):
        return opened.fields, list(Reader(connection, opened, Limits().max_value_bytes, Stop()).chunks())


@contextlib.contextmanager
def snapshot(
    postgres: PostgresServer, columns: tuple[str, ...], query: str | None, **source: Any
) -> Iterator[tuple[Connection, Opened]]:
    """What is known before the first row, and the connection that knows it. Raises `ExportError`."""
    where = {"host": postgres.host, "port": postgres.port, "database": "app", "allow_privileged_role": True}
    spec = Source(name="app-db", dataset="d", columns=columns, query=query, **{**where, **source})
    connection = connect(spec, {"PGUSER": postgres.user, "PGPASSWORD": postgres.password})
    with contextlib.closing(connection):
        yield connection, open_snapshot(connection, spec, PATIENCE_MS)


def through_pipeline(rows: Rows, encoder: Encoder, limits: Limits) -> tuple[bytes, Encoded]:
    """The object's bytes, in the order of its parts. `limits` names the size of its blocks."""
    parts: dict[int, bytes] = {}

    def send(part: Part) -> None:
        parts[part.number] = part.data

    objects = ObjectCutter(lambda _: encoder, limits)
    done = Pipeline(rows, objects, send, limits=limits, meter=Meter(time.monotonic()), stop=Stop()).run()
    return b"".join(parts[number] for number in sorted(parts)), done


def unpacked(data: bytes, compression: Compression) -> bytes:
    if compression == "Gzip":
        return gzip.decompress(data)
    if compression == "Zstd":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            return reader.read()
    return data
