"""The three stages, overlapped: fetch rows, decode and encode blocks, upload parts.

Between them stand queues bounded by bytes, so memory depends on the sizes of block and part alone. What comes out
depends on rows and spec alone: blocks are cut by `BlockCutter`, parts by `ObjectCutter`, and one thread encodes in
order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from export_contract.failures import Failure
from export_contract.runspec import Limits
from export_runner.clock import Stop
from export_runner.errors import ExportError, Stopped
from export_runner.frames.blocks import Block, BlockCutter, Chunk
from export_runner.frames.kinds import Field
from export_runner.meter import Meter
from export_runner.objects import ObjectCutter
from export_runner.queues import ByteQueue
from export_runner.sinks.parts import SENDERS, Part, Whole
from export_runner.tasks import LOOK_SECONDS, Task

MOST_BLOCKS = 2
"""Blocks that wait or are being encoded, beside the one being filled."""
MOST_PART_BYTES = 32 * 1024 * 1024
"""Bytes of parts that wait or are being sent, beside the one being filled; one larger part passes alone."""
SETTLE_SECONDS = 1.0
"""How long stages that were asked to stop are waited for; a part in flight may take longer and is left behind."""


class Rows(Protocol):
    """Where rows come from."""

    @property
    def fields(self) -> tuple[Field, ...]: ...

    @property
    def ended(self) -> bool:
        """Did the last row arrive?"""

    def chunks(self) -> Generator[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was sent: of several `objects` those of this attempt, in order. `complete`: no row was left unread.
    `nulled` is the manifest's."""

    rows: int
    objects: tuple[Whole, ...]
    complete: bool
    nulled: dict[str, int]


class Pipeline:
    """One pass over the rows. `send` is called from `SENDERS` threads at once."""

    def __init__(
        self,
        rows: Rows,
        objects: ObjectCutter,
        send: Callable[[Part], None],
        *,
        limits: Limits,
        meter: Meter,
        stop: Stop,
    ) -> None:
        self._rows = rows
        self._objects = objects
        self._send = send
        self._limits = limits
        self._meter = meter
        self._stop = stop
        self._blocks: ByteQueue[Block] = ByteQueue(MOST_BLOCKS * limits.block_bytes, MOST_BLOCKS, stop)
        self._parts: ByteQueue[Part] = ByteQueue(MOST_PART_BYTES, SENDERS, stop)

    def run(self) -> Encoded:
        """Raises the `ExportError` of the stage that failed first, or `Stopped`."""
        stages = [Task("fetch", self._fetch), Task("encode", self._encode)]
        stages += [Task(f"send-{number}", self._upload) for number in range(1, SENDERS + 1)]
        first: Task[None] | None = None
        while not all(stage.done for stage in stages):
            waiting = next(stage for stage in stages if not stage.done)
            waiting.join(LOOK_SECONDS)
            first = first or next((stage for stage in stages if stage.failed), None)
            if first is not None or self._stop.requested:
                self._stop.request()
                break
        first = first or next((stage for stage in stages if stage.failed), None)
        if first is not None or self._stop.requested:
            for stage in stages:
                stage.join(SETTLE_SECONDS)
            self._raise(first, stages)
        return Encoded(self._objects.rows, self._objects.wholes, self._rows.ended, self._objects.nulled)

    def _raise(self, first: Task[None] | None, stages: list[Task[None]]) -> None:
        for stage in (first, *stages):
            if stage is not None and stage.failed:
                try:
                    stage.result()
                except Stopped:
                    continue
        raise Stopped

    def _fetch(self) -> None:
        cutter = BlockCutter(self._limits.block_rows, self._limits.block_bytes)
        most = self._limits.max_rows
        with self._meter.timed("read"), closing(self._rows.chunks()) as chunks:
            for chunk in chunks:
                self._meter.read_rows += chunk.rows
                if most and self._meter.read_rows > most:
                    raise ExportError(Failure.ROW_LIMIT_EXCEEDED, f"There are more than {most:,} rows (maxRows).")
                for block in cutter.add(chunk):
                    self._blocks.put(block)
                    del block
                del chunk
            for block in cutter.rest():
                self._blocks.put(block)
        self._blocks.close()

    def _encode(self) -> None:
        while (block := self._blocks.get()) is not None:
            with self._meter.timed("encode"):
                parts = self._counted(self._objects.block(block, self._rows.fields))
            self._blocks.done(block)
            del block
            self._hand_over(parts)
        with self._meter.timed("encode"):
            parts = self._counted(self._objects.finish(complete=self._rows.ended))
        self._hand_over(parts)
        self._parts.close()

    def _hand_over(self, parts: list[Part]) -> None:
        while parts:
            self._parts.put(parts.pop(0))

    def _counted(self, parts: list[Part]) -> list[Part]:
        self._meter.rows, self._meter.bytes = self._objects.rows, self._objects.bytes
        most = self._limits.max_bytes
        if most and self._objects.bytes > most:
            raise ExportError(Failure.BYTE_LIMIT_EXCEEDED, f"There are more than {most:,} bytes (maxBytes).")
        return parts

    def _upload(self) -> None:
        while (part := self._parts.get()) is not None:
            with self._meter.timed("upload"):
                self._send(part)
            self._parts.done(part)
            del part
