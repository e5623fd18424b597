"""The exporter without its destination: `python -m tests.bench.bare SPEC OUT` runs an export whose object is a file.

All of it is the exporter's own run, but for the sink: there is no S3, no manifest, and so no SHA-256 to stand in it. A
file takes a part in the time that it takes to copy it: nobody is waited for, and so no part waits for a thread that
sends it. It prints the seconds by step and the rows as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from export_contract.manifest import Manifest, ObjectRef
from export_contract.report import Delivered
from export_contract.runspec import RunSpec
from export_runner import process
from export_runner.clock import Deadline, Stop
from export_runner.meter import Meter
from export_runner.retry import Retrier
from export_runner.run import Run
from export_runner.sinks import parts
from export_runner.sinks.parts import Part, Whole

if TYPE_CHECKING:  # as the exporter: it is imported when it is needed
    from export_runner.pipeline import Pipeline


class Unhashed:
    """Stands in for `hashlib.sha256`."""

    def update(self, data: bytes) -> None:
        """Nobody asks for it."""

    def hexdigest(self) -> str:
        return "0" * 64


def hand_over(self: Pipeline, parts: list[Part]) -> None:
    """Stands in for what gives parts to the threads that send them: whoever encoded writes."""
    while parts:
        with self._meter.timed("upload"):
            self._send(parts.pop(0))


class File:
    """A sink that writes parts to one file, in the order in which they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb", buffering=0)

    def find(self) -> None:
        """Nothing was delivered before."""

    def begin(self) -> None:
        """The file is open already."""
        from export_runner import pipeline

        pipeline.Pipeline._hand_over = hand_over  # type: ignore[method-assign]

    def send(self, part: Part) -> None:
        for piece in part.pieces:
            self._file.write(piece)

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        self._file.close()
        return tuple(
            ObjectRef(
                bucket="",
                key=self._path.name,
                rows=each.rows,
                bytes=each.bytes,
                sha256=each.sha256,
                etag="",
                parts=each.parts,
            )
            for each in wholes
        )

    def commit(self, manifest: Manifest) -> Delivered:
        (stored,) = manifest.objects
        uri = self._path.as_uri()
        return Delivered(uri=uri, manifest_uri="", rows=manifest.rows, bytes=stored.bytes, sha256=stored.sha256)

    def abort(self) -> bool:
        self._file.close()
        return True


def main(spec_file: str, out: str) -> None:
    """Raises what a run would report."""
    process.tune()
    parts.hashlib = SimpleNamespace(sha256=Unhashed)  # type: ignore[assignment, attr-defined]
    spec = RunSpec.from_json(Path(spec_file).read_text(encoding="utf-8"))
    meter, stop = Meter(process.started()), Stop()
    retrier = Retrier(Deadline(spec.limits.run_deadline_seconds, meter.started), stop)
    delivered = Run(spec, meter, stop, retrier, lambda *_: File(Path(out))).deliver()
    print(json.dumps({"rows": delivered.rows, "seconds": meter.seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # as the exporter leaves: without waiting for threads that have nothing left to do
