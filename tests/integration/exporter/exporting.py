"""The exporter's own pipeline, from a real PostgreSQL to the object's bytes, without a process and without S3."""

import contextlib
import dataclasses
import gzip
import time
from dataclasses import dataclass
from typing import Any

import zstandard

from export_contract.runspec import Compression, Limits, Output, Source
from export_runner.clock import Stop
from export_runner.formats.base import Format, load
from export_runner.formats.compression import compressor
from export_runner.frames.kinds import Field
from export_runner.meter import Meter
from export_runner.pipeline import Encoder, Pipeline
from export_runner.source.catalog import open_snapshot
from export_runner.source.connect import connect
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
    spec = Source(
        name="app-db",
        dataset="d",
        columns=columns,
        query=query,
        **{
            "host": postgres.host,
            "port": postgres.port,
            "database": "app",
            "allow_privileged_role": True,
            **source,
        },
    )
    limits = limits or Limits()
    kind = chosen or load(output.format)
    connection = connect(spec, {"PGUSER": postgres.user, "PGPASSWORD": postgres.password})
    with contextlib.closing(connection):
        described = open_snapshot(connection, spec, PATIENCE_MS)
        opened = dataclasses.replace(described, fields=kind.reads(described.fields, output))
        encoder = Encoder(kind(opened.fields, output), compressor(output.compression, inside=kind.compresses_inside))
        stop, parts = Stop(), dict[int, bytes]()
        pipeline = Pipeline(
            Reader(connection, opened, limits.max_value_bytes, stop),
            encoder,
            lambda part: parts.__setitem__(part.number, part.data),
            limits=limits,
            meter=Meter(time.monotonic()),
            stop=stop,
        )
        done = pipeline.run()
    data = b"".join(parts[number] for number in sorted(parts))
    return Exported(
        data if kind.compresses_inside else unpacked(data, output.compression), opened.fields, done.rows, done.nulled
    )


def unpacked(data: bytes, compression: Compression) -> bytes:
    if compression == "Gzip":
        return gzip.decompress(data)
    if compression == "Zstd":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            return reader.read()
    return data
