"""The exporter without its destination: `python -m tests.bench.bare SPEC OUT` writes what a run would send to a file.

It reads, decodes, encodes and hashes with the exporter's own code, prepared at once as a run does it; there is no S3,
no manifest and no retry. It prints the process's figures as one line of JSON.
"""

import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from export_contract.runspec import RunSpec
from export_runner import process
from export_runner.clock import Deadline, Stop
from export_runner.meter import Meter
from export_runner.tasks import Task, wait_for

if TYPE_CHECKING:
    from export_runner.sinks.parts import Part
    from export_runner.source.catalog import Opened
    from export_runner.source.connect import Connection


class Parts:
    """Writes parts in order of their number, from whichever thread they come."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._next = 1
        self._turn = threading.Condition()

    def send(self, part: "Part") -> None:
        with self._turn:
            self._turn.wait_for(lambda: part.number == self._next)
            self._file.write(part.data)
            self._next += 1
            self._turn.notify_all()


def _source(spec: RunSpec, deadline: Deadline) -> "tuple[Connection, Opened]":
    from export_runner.source.catalog import open_snapshot
    from export_runner.source.connect import connect

    connection = connect(spec.source)
    return connection, open_snapshot(connection, spec.source, int(deadline.remaining() * 1000))


def main(spec_file: str, out: str) -> None:
    """Raises what a run would report."""
    spec = RunSpec.from_json(Path(spec_file).read_text())
    meter, stop = Meter(process.started()), Stop()
    deadline = Deadline(spec.limits.run_deadline_seconds, meter.started)
    source = Task("prepare-source", lambda: _source(spec, deadline))

    from export_runner.errors import ExportError
    from export_runner.formats.base import load
    from export_runner.formats.compression import compressor
    from export_runner.pipeline import Encoder, Pipeline
    from export_runner.source import copying

    def late() -> ExportError:
        raise TimeoutError("the benchmark's run took longer than its deadline")

    chosen = load(spec.output.format)
    connection, opened = wait_for(source, deadline, stop, late)
    inside = chosen.compresses_inside
    encoder = Encoder(chosen(opened.fields, spec.output), compressor(spec.output.compression, inside=inside))
    reader = copying.Reader(connection, opened, spec.limits.max_value_bytes, stop, beat=meter.beat)
    pipeline = Pipeline(reader, encoder, Parts(Path(out)).send, limits=spec.limits, meter=meter, stop=stop)
    encoded = wait_for(Task("pipeline", pipeline.run), deadline, stop, late)
    assert reader.first_row_at is not None, "the benchmark's tables have rows"
    first = reader.first_row_at - meter.started
    print(json.dumps({"rows": encoded.rows, "firstRow": first, "seconds": meter.seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
