"""What is told of a run at its end: the manifest of one that was delivered, the words for one that was too slow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from export_contract.failures import Failure
from export_contract.runspec import RunSpec
from export_runner.errors import ExportError
from export_runner.meter import Meter

if TYPE_CHECKING:  # heavy: they load while connections are made
    from export_contract.manifest import Manifest, ObjectRef, Segment
    from export_runner.checkpoint import Checkpoint, Mark, Terms
    from export_runner.pipeline import Encoded
    from export_runner.source.catalog import Opened
    from export_runner.source.parallel import Spread
    from export_runner.source.plan import Plan

ENOUGH = 1.25
"""The deadline that is said to have sufficed: the time at the rate so far, times this."""


def now() -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Way:
    """How an attempt goes: as `plan` says, over several connections if there is a `spread`, and on from the checkpoint
    `found`, if there is one."""

    plan: Plan
    terms: Terms | None = None
    found: Checkpoint | None = None
    spread: Spread | None = None

    @property
    def start(self) -> Mark:
        """Where it begins."""
        from export_runner.checkpoint import START

        return self.found.mark if self.found else START

    def segments(self, rows: int) -> tuple[Segment, ...]:
        """What was read when, of all `rows`; empty when it was one snapshot."""
        from export_runner.checkpoint import segments

        if self.found is None or self.terms is None:
            return ()
        return segments(self.found.segments, self.terms, rows - self.start.rows)


def encoded_before(start: Mark) -> Encoded:
    """What an earlier attempt had sent whole."""
    from export_runner.pipeline import Encoded
    from export_runner.sinks.parts import Whole

    whole = Whole(start.bytes, start.parts, "", start.crc, rows=start.rows, complete=start.complete)
    return Encoded(start.rows, () if start.objects else (whole,), start.complete, dict(start.nulled))


def manifest(
    spec: RunSpec, opened: Opened, encoded: Encoded, objects: tuple[ObjectRef, ...], way: Way, *, started_at: str
) -> Manifest:
    """The manifest of what was read from `opened` and stored as `objects`."""
    from importlib.metadata import version

    from export_contract.manifest import Column, Manifest

    segments = way.segments(encoded.rows)
    first = segments[0] if segments else None
    read_back = any(not whole.sha256 for whole in encoded.objects)
    return Manifest(
        run=spec.run,
        source=spec.source.name,
        dataset=spec.source.dataset,
        format=spec.output.format,
        compression=spec.output.compression,
        layout=spec.output.layout,
        columns=tuple(Column(name=field.name, type=field.type_name) for field in opened.fields),
        rows=encoded.rows,
        objects=objects,
        complete=encoded.complete,
        nulled=encoded.nulled,
        consistency="Segmented" if len(segments) > 1 else "Snapshot",
        snapshot=first.snapshot if first else opened.snapshot.id,
        snapshot_time=first.snapshot_time if first else opened.snapshot.time,
        segments=segments,
        sha256_source="ReadBack" if read_back else "Stream",
        resumed=way.found.attempt if way.found else 0,
        connections=1 + len(way.spread.helpers) if way.spread else 1,
        fewer_connections_because=way.spread.because if way.spread else "",
        started_at=started_at,
        finished_at=now(),
        exporter_version=version("export-runner"),
    )


def expired(meter: Meter, seconds: float) -> ExportError:
    """The failure of a run that `seconds`, its deadline, did not suffice for."""
    text = f"Stopped after {seconds:g} s with {meter.rows:,} rows"
    if meter.rows and meter.estimated_rows:
        needed = seconds * max(1.0, meter.estimated_rows / meter.rows) * ENOUGH
        text += f" of about {meter.estimated_rows:,}; a deadline of about {needed:,.0f} s would have sufficed"
    return ExportError(Failure.DEADLINE_EXCEEDED, f"{text}. Nothing was delivered.")
